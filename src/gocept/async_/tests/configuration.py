"""Read ZCML in a test, and forget it afterwards."""

import collections

import zope.component
import zope.component.hooks
from zope.configuration import config
from zope.configuration import xmlconfig

from gocept.async_.interfaces import IServiceDeclaration


OPEN = '''
<configure
    xmlns="http://namespaces.zope.org/zope"
    xmlns:async="http://namespaces.gocept.com/async"
    i18n_domain="gocept.async">

  <include package="zope.component" file="meta.zcml" />
  <include package="gocept.async_" file="meta.zcml" />
'''
CLOSE = '</configure>'


def read(directives):
    """Return the machine that has read the directives, nothing executed."""
    machine = config.ConfigurationMachine()
    xmlconfig.registerCommonDirectives(machine)
    return xmlconfig.string(
        OPEN + directives + CLOSE, context=machine, execute=False)


def execute(test, directives):
    """Execute the directives until the end of the test."""
    test.addCleanup(_forget_all_but, utilities())
    test.addCleanup(_forget_handlers_but, handlers())
    # Directives register where the current site says.
    with zope.component.hooks.site(None):
        read(directives).execute_actions()


def declare(test, name, **settings):
    """Execute one async:service directive, instead of one of that name."""
    attributes = ' '.join(
        f'{key}="{value}"' for key, value in settings.items())
    execute(test, f'<async:service name="{name}" {attributes} />')
    return zope.component.getUtility(IServiceDeclaration, name)


def utilities():
    """Return interface, name and component of all global utilities."""
    return [
        (registration.provided, registration.name, registration.component)
        for registration
        in zope.component.getGlobalSiteManager().registeredUtilities()]


def handlers():
    """Return how often each global handler is registered, and for what."""
    return collections.Counter(
        (registration.required, registration.handler) for registration
        in zope.component.getGlobalSiteManager().registeredHandlers())


def _forget_handlers_but(known):
    """Let each handler be called as often as before: an include adds one."""
    manager = zope.component.getGlobalSiteManager()
    for (required, handler), number in handlers().items():
        before = known[required, handler]
        if number != before:
            # There is no way to take one of several back.
            manager.unregisterHandler(handler, required)
            for _ in range(before):
                manager.registerHandler(handler, required)


def _forget_all_but(known):
    manager = zope.component.getGlobalSiteManager()
    for provided, name, component in utilities():
        if (provided, name, component) not in known:
            manager.unregisterUtility(component, provided, name)
    for provided, name, component in known:
        if manager.queryUtility(provided, name) is not component:
            manager.registerUtility(component, provided, name)
