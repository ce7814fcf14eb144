"""Hooks and data managers of a call work as its principal, in its site."""

import transaction
import zope.component.hooks
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from gocept.async_ import function
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.running.registry import service_path


def look(what):
    """Note where, and as whom, something works."""
    site = zope.component.hooks.getSite()
    principal = sample.current_principal()
    sample.calls.append((what, principal and principal.id, site.__name__))


class Queue:
    """A data manager, like that of an index queue."""

    transaction_manager = transaction.manager

    def sortKey(self):
        return '~'

    def tpc_begin(self, txn):
        look('begin')

    def commit(self, txn):
        look('commit')

    def tpc_vote(self, txn):
        look('vote')

    def tpc_finish(self, txn):
        look('finish')

    def tpc_abort(self, txn):
        look('abort')

    abort = tpc_abort


@function('events')
def add_hook():
    transaction.get().addBeforeCommitHook(look, ('hook',))


@function('events')
def add_late_hook():
    transaction.get().addAfterCommitHook(lambda success: look('late'))


@function('events')
def add_queue():
    transaction.get().join(Queue())


@function('events')
def quiet(number):
    sample.calls.append(number)


CALLS = {add_hook: ['hook'], add_late_hook: ['late'],
         add_queue: ['begin', 'commit', 'vote', 'finish']}


class ContextTest(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        for name in ('one', 'two'):
            self.root[name] = site = Folder()
            site.setSiteManager(LocalSiteManager(site))
        transaction.commit()

    def call(self, name, principal, call, *args):
        """Make a call in a site, as a principal."""
        login(principal)
        with zope.component.hooks.site(self.root[name]):
            call(*args)
        logout()

    def run_jobs(self):
        transaction.commit()
        db, path = self.root._p_jar.db(), service_path(self.service)
        claims = execution.in_transaction(
            db, path, transaction.commit,
            lambda engine: engine.claim('host:1:test:0', 100))
        self.run_claims(db, path, claims)
        transaction.begin()
        return [self.service.jobs[claim.job].status for claim in claims]

    def run_claims(self, db, path, claims):
        for claim in claims:
            execution.run_claimed(db, path, claim, transaction.commit)

    def test_each_in_its_own(self):
        """So it is for each of several calls, one after the other."""
        for call, what in CALLS.items():
            with self.subTest(call.__name__):
                del sample.calls[:]
                self.call('one', 'zope.user', call)
                self.call('two', 'zope.manager', call)
                self.call('one', 'zope.manager', quiet, 3)
                self.assertEqual(['completed'] * 3, self.run_jobs())
                self.assertEqual(
                    [*((each, 'zope.user', 'one') for each in what),
                     *((each, 'zope.manager', 'two') for each in what), 3],
                    sample.calls)


class GroupContextTest(ContextTest):
    """Where they run in one transaction, as far as that is possible."""

    def run_claims(self, db, path, claims):
        ends = group.run_group(db, path, claims, transaction.commit)
        self.assertEqual({execution.ENDED}, set(ends.values()))

    def test_together_as_far_as_possible(self):
        """Jobs with nothing of that kind share a transaction."""
        ids = []
        for number in range(3):
            ids.append(quiet.enqueue(number))
        ids.append(add_hook.enqueue())
        for number in range(2):
            ids.append(quiet.enqueue(number))
        self.run_jobs()
        serials = []
        for jobid in ids:
            job = self.service.jobs[jobid]
            job._p_activate()
            serials.append(job._p_serial)
        self.assertEqual(2, len(set(serials)))
        self.assertEqual(1, len(set(serials[:4])))
