"""What an application might do: the functions whose jobs the pages show."""

import sys
import types

from gocept.async_ import function


def _in(module):
    """Put a function into a module of that name, which is made for it."""
    found = sys.modules.setdefault(module, types.ModuleType(module))

    def place(each):
        each.__module__ = module
        each.__qualname__ = each.__name__
        made = function(service='events')(each)
        setattr(found, each.__name__, made)
        return made
    return place


class MailboxFull(Exception):
    """Somebody does not read his mails."""


MailboxFull.__module__ = 'shop.mail'


@_in('shop.mail')
def send_newsletter(address, subject, copies=1):
    """Send it."""
    return {'sent': copies, 'to': address}


@_in('shop.mail')
def deliver(address):
    """Fail."""
    raise MailboxFull(f'The mailbox of {address} takes no more.')


@_in('shop.invoices.pdf')
def render(number, pages):
    """Make a document."""
    return pages * 1024


@_in('shop.reports')
def monthly_turnover(month):
    """Fail in another way."""
    return sum(month) / 0


@_in('shop.stock')
def reorder():
    """Run every night."""


# Stored by a name that is gone when its job is run.
@_in('shop.old')
def export_to_fax(number):
    """Be gone."""
