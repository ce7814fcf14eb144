"""Examples of the documents that are run as they are written."""

import doctest
import pathlib
import sys
import types
import unittest

import transaction
import zope.component
import zope.component.hooks

import gocept.async_
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import process
from gocept.async_.tests.functional import add_service


DOCS = pathlib.Path(gocept.async_.__file__).parents[3] / 'docs'

SHOP = '''
from gocept.async_ import function

@function('events')
def count_stock(shelf):
    return {}[shelf]
'''


class Tracker:
    """One that prints."""

    def report(self, title, text, job):
        print(title)
        print(text)


def setUp(test):
    root = FUNCTIONAL_LAYER.getRootFolder()
    zope.component.hooks.setSite(root)
    add_service(root, 'events')
    transaction.commit()
    sys.modules['shop'] = shop = types.ModuleType('shop')
    exec(compile(SHOP, '/srv/shop.py', 'exec'), vars(shop))
    test.globs['tracker'] = Tracker()
    test.globs['run_jobs'] = lambda: process(raise_errors=False)


def tearDown(test):
    zope.component.getGlobalSiteManager().unregisterHandler(
        test.globs['report'])
    del sys.modules['shop']
    transaction.abort()
    zope.component.hooks.setSite(None)


def test_suite():
    suite = unittest.TestSuite()
    # Installed without the documents, there is nothing to run.
    if DOCS.is_dir():
        suite.addTest(doctest.DocFileSuite(
            str(DOCS / 'reference' / 'events.rst'), module_relative=False,
            setUp=setUp, tearDown=tearDown,
            optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF))
        suite.layer = FUNCTIONAL_LAYER
    return suite
