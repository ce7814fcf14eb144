"""What has to be done for a service now and then."""

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.policy import policy_of
from lovely.remotetask.ruling import ruled
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import share
from lovely.remotetask.storage import tidy


@zope.interface.implementer(interfaces.IUpkeep)
class Upkeep:
    """See IUpkeep.

    service -- a TaskService.
    """

    def __init__(self, service):
        self.service = service
        self.store = service.store

    def prune(self, limit, now=None, worker_id=None):
        """See IUpkeep."""
        now = moment.given(now)
        shelves = (None if worker_id is None
                   else share.shelves(self.store, worker_id))
        policy = policy_of(self.service)
        pruned = cleaning.drop_some(self.store, limit)
        for status in (COMPLETED, CANCELLED, ERROR, HELD):
            before = now - ruled(policy, 'retention_of', status)
            if before > self.store.since:
                pruned += removal.prune(
                    self.store, status, before, limit - pruned, shelves)
        pruned += aside.prune(
            self.store, now - ruled(policy, 'retention_of', HELD),
            limit - pruned)
        if pruned < limit:
            # There is time to look around.
            self.look_after(now)
        return pruned

    def look_after(self, now=None):
        """See IUpkeep."""
        tidy.look_after(self.store, moment.given(now))

    def correct_schedule(self, now=None):
        """See IUpkeep."""
        audit.correct_schedule(self.store, moment.given(now))

    def hold_copies(self, now=None):
        """See IUpkeep."""
        audit.hold_copies(self.store, moment.given(now))
