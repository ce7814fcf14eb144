"""The directive ``async:pages``."""

import importlib.util
import re
from pathlib import Path

import zope.component.zcml
import zope.i18n.zcml
import zope.interface
import zope.schema
from zope.component.interfaces import ISite
from zope.configuration import xmlconfig
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import GlobalInterface
from zope.publisher.interfaces.browser import IDefaultBrowserLayer

from gocept.async_.zcml import LAST
from lovely.remotetask.interfaces import ITaskService


class IPagesDirective(zope.interface.Interface):
    """Let people see and act on jobs in their browsers.

    Without it no page is reachable.  With it each site has a view that leads
    to its services, and each service has one itself.
    """

    name = zope.schema.TextLine(
        title='Name',
        description='What the view of a site is called: the pages are at '
                    '``@@NAME/``. Of ASCII letters, digits, "_", "-" and '
                    '".", as it is part of addresses.',
        default='async',
        required=True)

    layer = GlobalInterface(
        title='Layer',
        description='The browser layer for which the pages are registered; '
                    'a skin that does not extend the default one needs its '
                    'own.',
        default=IDefaultBrowserLayer,
        required=True)

    layout = zope.schema.TextLine(
        title='Layout',
        description='Path of a macro of the application, with the slots '
                    '"body" and "style_slot", into which the pages are put: '
                    '"standard_macros/view", say. A layout of their own if '
                    'it is not given.',
        default='',
        required=True)

    frame_ancestors = zope.schema.TextLine(
        title='Frame ancestors',
        description='Who may show the pages in a frame: the sources of that '
                    'part of the Content-Security-Policy, separated by '
                    'spaces.',
        default="'none'",
        required=True)


def pages(_context, **settings):
    """Register the views; nothing is loaded before."""
    if importlib.util.find_spec('zope.browserpage') is None:
        raise ConfigurationError(
            'async:pages: zope.browserpage is not installed; pip install '
            '"gocept.async[pages]".')
    _check(settings['name'], settings['frame_ancestors'])
    # Only with the extra; without it the sentence above was said.
    from gocept.async_.pages import earlier
    from gocept.async_.pages import screens
    from gocept.async_.pages import views

    name, layer = settings.pop('name'), settings.pop('layer')
    found = views.Views(name, **settings)
    _context.action(discriminator=None, callable=views.define_checkers)
    xmlconfig.include(_context, package=zope.i18n)
    zope.i18n.zcml.registerTranslations(
        _context, str(Path(views.LOCALES)))
    view = zope.interface.Interface
    for factory, for_, provided, called in (
            (found.overview, ISite, view, name),
            (found.service, ITaskService, view, name),
            *earlier.registrations(name)):
        _register(_context, factory, for_, layer, provided, called)
    _context.action(discriminator=None, callable=screens.register,
                    args=(layer, name), order=LAST)


def _check(name, frame_ancestors):
    if not re.fullmatch(r'[\w.-]+', name, re.ASCII) or name in ('.', '..'):
        raise ConfigurationError(
            f'async:pages: name="{name}" cannot be part of an address; give '
            f'a name of letters, digits, "_", "-" and ".", like "async".')
    # A comma begins another policy, a semicolon another part of this one; and
    # a header is one line of ASCII.
    if not re.fullmatch(r'[ -~]*', frame_ancestors) or (
            set(frame_ancestors) & set(',;')):
        raise ConfigurationError(
            f'async:pages: frame_ancestors="{frame_ancestors}" has a '
            f'character that no source has; separate sources by spaces, like '
            f"'self' https://portal.example.")


def _register(_context, factory, for_, layer, provided, name):
    _context.action(
        discriminator=('view', (for_, layer), name, provided),
        callable=zope.component.zcml.handler,
        args=('registerAdapter', factory, (for_, layer), provided, name,
              _context.info))
