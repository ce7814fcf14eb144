"""What the log is told of services that are brought up to date.

After the commit: a transaction that fails has changed nothing.
"""

import logging
import time

from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.part import path
from lovely.remotetask.storage import counting
from lovely.remotetask.storage.fate import FOUND
from lovely.remotetask.storage.fate import LOST
from lovely.remotetask.storage.fate import REPAIRED


log = journal(__name__)

# Findings of one kind that are told, of one transaction.
SHOWN = 50

# Seconds between two lines that tell how far it is.
INTERVAL = 2.0

# These are as they should be, once they are told.
LEVELS = {FOUND: logging.INFO, LOST: logging.INFO, REPAIRED: logging.INFO}


def name_of(service):
    """Return the path of a service, for people (str)."""
    found = outcome_of(path, service)
    return '/'.join(found.value or [service.__name__ or '?'])


class Progress:
    """Tells how far a service is brought up to date, every two seconds."""

    def __init__(self, tell=log.info, clock=time.monotonic):
        """Make one.

        tell -- called with a format and arguments.
        clock -- returns seconds.
        """
        self._tell = tell
        self._clock = clock
        self._next = clock() + INTERVAL
        self._number = None

    def tell(self, service):
        """Some more jobs of a service are up to date."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + INTERVAL
        # It may not be asked for its store before that is complete.
        store = vars(service)['_store']
        done = sum(counting.counts(store).values())
        # To count them takes a while.
        self._number = self._number or len(store.legacy)
        self._tell('%s: %s of %s jobs are brought up to date',
                   name_of(service), done, self._number)


def after_commit(service, tell, *args):
    """Call something once the changes of a service are committed.

    It must not touch persistent objects then.
    """
    if service._p_jar is None:
        tell(*args)
        return
    txn = service._p_jar.transaction_manager.get()
    txn.addAfterCommitHook(_tell_if_committed, (tell, args))


def _tell_if_committed(is_committed, tell, args):
    if is_committed:
        tell(*args)


def all_jobs(service):
    """Tell of a service that it is up to date, after the commit."""
    after_commit(service, log.info, '%s: brought up to date, with %s jobs',
                 name_of(service), len(service.jobs))


def trouble(service, texts):
    """Tell of what of the books of a service cannot be read."""
    for text in texts:
        after_commit(service, log.error, '%s: %s', name_of(service),
                     escaped(text))


def findings(service, found):
    """Tell of jobs what there is to be told.

    found -- list of Finding.
    """
    if found:
        after_commit(service, _log, name_of(service), found)


def _log(name, found):
    by_kind = {}
    for each in found:
        by_kind.setdefault(each.kind, []).append(each)
    for kind, some in by_kind.items():
        level = LEVELS.get(kind, logging.WARNING)
        for each in some[:SHOWN]:
            log.log(level, '%s/%s: %s', name, each.jobid, escaped(each.text))
        if len(some) > SHOWN:
            log.log(level, '%s: and %s more jobs like that (%s)', name,
                    len(some) - SHOWN, kind)
