
import zope.component.hooks

import gocept.async_
import gocept.async_.task


done = []


def note(marker, *details):
    """Remember a call: its marker, principal, site, and arguments."""
    site = zope.component.hooks.getSite()
    done.append((
        marker, gocept.async_.task.TaskDescription.get_principal(),
        None if site is None else (site.__name__ or 'root'), repr(details)))


@gocept.async_.function(service='events')
def record(marker, *args, **kw):
    note(marker, args, kw)


@gocept.async_.function(service='mail')
def send(marker, *args, **kw):
    note(marker, args, kw)


@gocept.async_.function()
def unnamed(marker, *args, **kw):
    note(marker, args, kw)


def undecorated_later(marker, *args, **kw):
    note(marker, args, kw)


@gocept.async_.function(service='events')
def signature_changed(marker, a):
    note(marker, a)


@gocept.async_.function(service='events')
def change_invoice(marker, invoice, amount=None):
    invoice.amount = amount
    note(marker, invoice.number)


@gocept.async_.function(service='events')
def failing(marker):
    note(marker)
    raise ValueError('a job that fails')


@gocept.async_.function(service='events')
def kill(marker):
    """The machine dies while it runs."""
    note(marker)


@gocept.async_.function(service='events')
def charge(marker):
    root = zope.component.hooks.getSite()
    root.charged = getattr(root, 'charged', 0) + 1
