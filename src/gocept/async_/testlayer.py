"""The layer of functional tests: a small application of the Toolkit."""

from zope.app.wsgi.testlayer import BrowserLayer

import gocept.async_


FUNCTIONAL_LAYER = BrowserLayer(
    gocept.async_, 'ftesting.zcml', name='FUNCTIONAL_LAYER',
    allowTearDown=True)
