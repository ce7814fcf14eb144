"""The document this package was created from is its README doctest."""

import doctest

import manuel.doctest
import manuel.footnote
import manuel.testing
import zope.component.hooks
import zope.security.management

from gocept.async_.testing import FUNCTIONAL_LAYER


def setUp(test):
    root = FUNCTIONAL_LAYER.getRootFolder()
    zope.component.hooks.setSite(root)
    test.globs['getRootFolder'] = FUNCTIONAL_LAYER.getRootFolder


def tearDown(test):
    zope.component.hooks.setSite(None)
    zope.security.management.endInteraction()


def test_suite():
    parser = manuel.doctest.Manuel(optionflags=doctest.REPORT_NDIFF)
    # Each footnote is run where it is referred to.
    parser += manuel.footnote.Manuel()
    suite = manuel.testing.TestSuite(
        parser, '../README.txt', setUp=setUp, tearDown=tearDown)
    suite.layer = FUNCTIONAL_LAYER
    return suite
