"""What ZCML says of a cron job."""

import zope.component
import zope.interface

from gocept.async_.interfaces import ICronDeclaration
from gocept.async_.lookup import find_function
from gocept.async_.task import TASK_NAME
from gocept.async_.task import TaskDescription
from lovely.remotetask.cron import Pattern
from lovely.remotetask.named import Wanted


@zope.interface.implementer(ICronDeclaration)
class CronDeclaration:
    """See ICronDeclaration."""

    def __init__(self, name, service, function, principal, pattern):
        """Make one; ValueError for a pattern that is none.

        pattern -- keyword arguments of ICronJob.update, with any values.
        """
        self.name = name
        self.service = service
        self.function = function
        self.principal = principal
        fields = dict.fromkeys(Pattern._fields, ()) | {'timezone': None}
        self.pattern = Pattern(**{**fields, **pattern}).check()._asdict()

    @property
    def key(self):
        """The name of the utility."""
        return f'{self.service}/{self.name}'

    def wanted(self, site, obstacle):
        """Return what a service is to have: a Wanted.

        site -- in which the function is called, see IApplicationServer.
        obstacle -- str, why it must not be; or None.
        """
        call = TaskDescription.declared(
            find_function(self.function), self.principal, site)
        terms = self.function, self.principal, *self.pattern.values()
        return Wanted(TASK_NAME, call, self.pattern, terms, obstacle)


def declarations_of(service):
    """Return the declarations for a service, sorted by name.

    service -- the name with which it is declared.
    """
    found = zope.component.getGlobalSiteManager().getUtilitiesFor(
        ICronDeclaration)
    return [declaration for _, declaration in sorted(found)
            if declaration.service == service]
