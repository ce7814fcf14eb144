"""What is around a run, and may be changed by it: of its thread and process.

Each run begins as the first one did.  What belongs to the thread is replaced
for the length of a run: site, interaction, context variables, transaction
manager (see `session`).  What belongs to the process is compared afterwards,
and set back (see `processstate`).
"""

import contextlib
import contextvars
import decimal
import sys

import zope.component.hooks
import zope.interface
import zope.publisher.base
import zope.security.management
from zope.security.interfaces import IPrincipal

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import processstate


log = journal(__name__)


def in_context(call, *args):
    """Call something with context variables of its own."""
    return contextvars.copy_context().run(_in_own_context, call, *args)


def _in_own_context(call, *args):
    # The one of the thread is an object that would be shared by the copies.
    decimal.setcontext(processstate.DECIMALS)
    return call(*args)


@zope.interface.implementer(IPrincipal)
class Nobody:
    """The principal of a job that was added without one; may do nothing."""

    id = None
    title = description = ''
    groups = ()


class ProcessorRequest(zope.publisher.base.BaseRequest):
    """The participation of a running job; by it jobs know that they are."""

    def __init__(self, principal=None):
        super().__init__(None, {})
        self.setPrincipal(Nobody() if principal is None else principal)


@contextlib.contextmanager
def interaction(*participations):
    """Replace the current interaction for a while, and all that goes with it.
    """
    # Not by endInteraction and restoreInteraction: these cannot be nested,
    # and the second one would bring back that of another run.
    state = vars(zope.security.management.thread_local)
    previous = dict(state)
    state.clear()
    try:
        zope.security.management.newInteraction(*participations)
        yield
    finally:
        state.clear()
        state.update(previous)


@contextlib.contextmanager
def site(found):
    """Make a site the current one for a while."""
    info = zope.component.hooks.siteinfo
    previous = info.site, info.sm
    try:
        zope.component.hooks.setSite(found)
        yield
    finally:
        _set_site_back(*previous)


def _set_site_back(site, manager):
    # Not by setSite: that asks the site, which may be unreadable by now.
    info = zope.component.hooks.siteinfo
    info.site, info.sm = site, manager
    # Kept there for the thread when the first adapter is looked for: it is
    # that of the site that was left, whose connection may be closed.
    vars(info).pop('adapter_hook', None)


class JobPlace:
    """A context manager: the site and the interaction of a job.

    site -- the ISite that is current meanwhile, or None.
    participations -- called in the site; returns those of the interaction.
    """

    # A class, and not a generator: that is entered for each job.

    def __init__(self, site, participations):
        self._site = site
        self._participations = participations

    def __enter__(self):
        info = zope.component.hooks.siteinfo
        state = vars(zope.security.management.thread_local)
        self._outer = info.site, info.sm, dict(state)
        entered = outcome_of(self._enter, state)
        if entered.failed:
            self.__exit__()
            raise entered.exception

    def _enter(self, state):
        zope.component.hooks.setSite(self._site)
        participations = self._participations()
        state.clear()
        zope.security.management.newInteraction(*participations)

    def __exit__(self, *exc_info):
        site, manager, outer = self._outer
        _set_site_back(site, manager)
        state = vars(zope.security.management.thread_local)
        state.clear()
        state.update(outer)


class Surroundings:
    """A context manager: be where a job is run.

    place -- another one, for what belongs to the thread.
    name -- called without arguments; str, what is run, for the log.

    Several runs at a time have one state of the process among them: a change
    lasts until the first of them ends.
    """

    def __init__(self, place, name):
        self._place = place
        self._name = name

    def __enter__(self):
        processstate.begin()
        self._tracing = sys.gettrace(), sys.getprofile()
        entered = outcome_of(self._place.__enter__)
        if entered.failed:
            self._leave_process()
            raise entered.exception

    def __exit__(self, *exc_info):
        try:
            self._place.__exit__(*exc_info)
        finally:
            self._leave_tracing()
            self._leave_process()

    def _leave_tracing(self):
        """Set back what this thread calls for each line, or each call."""
        trace, profile = self._tracing
        if sys.gettrace() is not trace:
            sys.settrace(trace)
        if sys.getprofile() is not profile:
            sys.setprofile(profile)

    def _leave_process(self):
        changed = processstate.end()
        if changed:
            log.warning(
                '%s has changed of the process: %s; set back', self._name(),
                ', '.join(changed).replace('_', ' '))
