"""The service in the screens of zope.app: it can be added, and has tabs.

Their menus are there where zope.app.zcmlfiles, or the application itself, has
made them; nothing is imported for those who have none.
"""

import sys

import zope.component
import zope.interface
from zope.configuration.config import ConfigurationMachine

from lovely.remotetask import TaskService
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import VIEW
from lovely.remotetask.browser.wording import _
from lovely.remotetask.interfaces import ITaskService


# The tabs of a service: what they are called, where they lead, for whom.
TABS = ((_('Jobs'), 'jobs.html', VIEW),
        (_('Add a cron job'), 'addcronjob.html', MANAGE))


# Which objects have the tab of a site.  Were it registered for sites alone, it
# would be their first one, and their contents would no longer be shown first.
IS_SITE = ("python:modules['zope.component.interfaces'].ISite"
           ".providedBy(context)")

# Before that of the registration, as zope.app orders them.
ORDER = 900


def register(layer, name):
    """Enter the service into those menus of zope.app that there are.

    Called when all directives have been executed, so that it does not matter
    which of them stand first.

    layer -- the browser layer for which that holds.
    name -- of the view of a site.
    """
    # Whoever has made a menu has imported this.
    menus = sys.modules.get('zope.browsermenu.metaconfigure')
    if menus is None:
        return
    context = ConfigurationMachine()
    views = _menu('zmi_views')
    if views:
        for title, action, permission in TABS:
            menus.menuItemDirective(
                context, views, ITaskService, action, title,
                permission=permission, layer=layer)
        menus.menuItemDirective(
            context, views, zope.interface.Interface, f'@@{name}/',
            _('Background jobs'), filter=IS_SITE, permission=VIEW,
            layer=layer, order=ORDER)
    if _menu('zope.app.container.add'):
        menus.addMenuItem(
            context, _('Remote Task Service'), class_=TaskService,
            description=_('Keeps jobs, and lets them be run'),
            permission=MANAGE, layer=layer)
    context.execute_actions()


def _menu(name):
    """Return the type of the items of a menu, or None."""
    from zope.browsermenu.interfaces import IMenuItemType
    return zope.component.queryUtility(IMenuItemType, name)
