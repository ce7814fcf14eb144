"""The layer of the functional tests, and its fixtures."""

import notes
from zope.app.wsgi.testlayer import BrowserLayer

from gocept.async_ import fixtures


LAYER = BrowserLayer(
    notes, 'ftesting.zcml', name='NOTES_LAYER', allowTearDown=True)

globals().update(fixtures.create(LAYER))
