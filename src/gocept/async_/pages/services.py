"""Which services a site has, whoever may see them."""

import zope.location.interfaces

from gocept.async_.declaration import declarations
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ITaskService


def services(site):
    """Return the services of a site by what they are called in addresses.

    Those that are seen from the site; in the root folder also those declared
    elsewhere.  Without security proxies: whoever shows them checks.

    site -- without a security proxy.
    """
    found = dict(sorted(site.getSiteManager().getUtilitiesFor(ITaskService)))
    if not zope.location.interfaces.IRoot.providedBy(site):
        return found
    for declaration in declarations():
        # Content on the way to its site may be unreadable.
        service = outcome_of(declaration.find, site).value
        # The services of two databases compare by what they are.
        if service is not None and not any(
                service is each for each in found.values()):
            name = declaration.name
            found[f'{name} ({declaration.site})' if name in found
                  else name] = service
    return found
