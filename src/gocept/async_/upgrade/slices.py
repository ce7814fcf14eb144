"""Bringing a service up to date, some jobs in each transaction.

Interrupted in the middle, it goes on where it was.  Two processes that do it
at the same time meet at the commit of a slice; the one that loses goes on
where the other one is.
"""

from typing import NamedTuple

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.storage.telling import Progress
from lovely.remotetask.storage.upgrade import SCHEMA
from lovely.remotetask.storage.upgrade import SLICE
from lovely.remotetask.storage.upgrade import Slice
from lovely.remotetask.storage.upgrade import upgrade_some


log = journal(__name__)

# How often a slice is tried: each time it fails, another process has done one.
ATTEMPTS = 100


class Done(NamedTuple):
    """What has become of a service.

    number -- how many jobs it has.
    findings -- list of Finding, of the slices that were done here.
    trouble -- texts: what else could not be read of them.
    """

    number: int
    findings: list
    trouble: list


def bring_up_to_date(db, find, tell=log.info):
    """Bring a service up to date that earlier code has stored.  Return Done.

    db -- the ZODB.DB with the root folder.
    find -- called with a connection, returns the service.
    tell -- called with a format and arguments, every two seconds: how far it
        is.
    """
    progress = Progress(tell)
    done, earlier = Done(None, [], []), None
    while done.number is None:
        number, some = in_private_transaction(
            db, lambda connection: _slice(
                find(connection), progress, earlier),  # noqa: B023
            ATTEMPTS)
        done = Done(number, done.findings + some.findings,
                    done.trouble + some.trouble)
        earlier = some.earlier
    return done


def _slice(service, progress, earlier):
    """Bring some jobs of a service up to date.

    Return how many it has, None if there is more to do; and the Slice.
    """
    if service.schema == SCHEMA:
        return len(service.jobs), Slice([], [], earlier)
    done = upgrade_some(service, SLICE, earlier)
    if service.schema == SCHEMA:
        return len(service.jobs), done
    progress.tell(service)
    return None, done
