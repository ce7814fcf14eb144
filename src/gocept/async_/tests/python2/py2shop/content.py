"""Content of an application of 2010 (Python 3)."""
import persistent
import zope.annotation.interfaces
import zope.container.contained
import zope.interface
import zope.site.folder
from py2shop.newcontent import NewName


# It has moved; the old name stays for what is stored.
Renamed = NewName


class IInvoice(zope.interface.Interface):
    pass


@zope.interface.implementer(
    IInvoice, zope.annotation.interfaces.IAttributeAnnotatable)
class Invoice(zope.container.contained.Contained, persistent.Persistent):

    def __init__(self, number, customer, notes=''):
        self.number = number
        self.customer = customer      # byte string in utf-8, as was usual
        self.notes = notes            # unicode


class Site(zope.site.folder.Folder):
    """A folder that is a site, with its own journal."""


class Journal(persistent.Persistent):

    def __init__(self):
        self.lines = ()

    def add(self, line):
        self.lines += (line,)


class Money:
    """New-style, not persistent."""

    def __init__(self, amount, currency):
        self.amount = amount
        self.currency = currency


class Slotted:
    """New-style with __slots__: needs protocol 2 or __getstate__."""
    __slots__ = ('a', 'b')

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __getstate__(self):
        return (self.a, self.b)

    def __setstate__(self, state):
        self.a, self.b = state


class MyDict(dict):
    pass


class MyList(list):
    pass


class MyStr(str):
    pass


class MyUnicode(str):
    pass


class MyInt(int):
    pass


class Address:
    """Old-style."""

    def __init__(self, street, city):
        self.street = street
        self.city = city
