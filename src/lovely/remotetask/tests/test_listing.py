"""Pages of jobs: each job once, newest first, little read."""

import base64
import unittest.mock
import zlib

import persistent
import transaction
from BTrees.IOBTree import IOBTree

from lovely.remotetask.browser import parameters
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.storage import bookmark
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import whereabouts
from lovely.remotetask.storage.selection import Selection
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import StoreCase


class ListingCase(StoreCase):

    def pages(self, limit=3, service=None, **selection):
        """Return the ids on all pages, in their order."""
        found, after = [], None
        for _ in range(1000):
            page = (service or self.service).find(
                after=after, limit=limit, **selection)
            self.assertLessEqual(len(page.jobs), limit)
            found += [job.id for job in page.jobs]
            after = page.after
            if after is None:
                return found
        return self.fail('There is no last page.')

    def check_once(self, **selection):
        """Check that the pages have each job once that is selected."""
        transaction.begin()
        status = selection.get('status')
        expected = [job.id for job in self.service.jobs.values()
                    if status in (None, job.status)]
        self.assertEqual(
            sorted(expected), sorted(self.pages(**selection)))


class PagesTest(ListingCase):

    def mixed(self):
        """Make jobs of every status, in several lanes and segments."""
        other = Opened(self)
        for number in range(8):
            other.service.add('test.task', startLater=True)
            for priority in (5, 9):
                self.service.add('test.task', priority=priority)
            self.service.addCronJob('test.task', minute=(10,))
            self.service.addCronJob('test.task', delay=10)
            self.service.cancel(self.service.add('test.task'))
            self.service.add('test.task', 'fail' if number % 2 else None)
            transaction.commit()
            other.commit()

    def test_each_job_once(self):
        """Over all pages each job is found once, whatever its status."""
        self.mixed()
        for step in (lambda: None, lambda: self.claim(5), self.finish,
                     lambda: self.claim(20, now=0), self.mixed):
            step()
            for status in (None, *STATUSES):
                with self.subTest(status=status, step=step):
                    self.check_once(status=status)

    def test_newest_first(self):
        """Of all jobs the newest come first, over lanes and pages."""
        other = Opened(self)
        ids = []
        for _ in range(20):
            other.manager.begin()
            ids += [self.add('test.task'), other.add('test.task')]
        transaction.begin()
        self.assertEqual(ids[::-1], self.pages())
        self.assertEqual(ids[::-1], self.pages(status=QUEUED))

    def test_newest_end_first(self):
        """Of ended jobs those that ended last come first."""
        ids = []
        for number in range(10):
            ids.append(self.add('test.task'))
            self.service.processNext(NOW + number, ids[-1])
            transaction.commit()
        self.assertEqual(ids[::-1], self.pages(status=COMPLETED))

    def test_settled_between_two_pages(self):
        """Each job is on one page, also where processors list it meanwhile."""
        for input, status in ((None, COMPLETED), ('fail', ERROR)):
            with self.subTest(status):
                listed = [self.add('test.task', input) for _ in range(4)]
                self.claim()
                self.finish()
                ids = [self.add('test.task', input) for _ in range(8)]
                self.claim()
                self.finish(settle=False)
                page = self.service.find(status=status, limit=5)
                found = [job.id for job in page.jobs]
                workers(self.service).stop_worker(A)
                transaction.commit()
                while page.after:
                    page = self.service.find(
                        status=status, limit=5, after=page.after)
                    found += [job.id for job in page.jobs]
                self.assertCountEqual([*listed, *ids], found)

    def test_ended_before_the_cursor_came(self):
        """A job that has ended before it was passed is listed once."""
        cancelled, run, started = (
            self.add('test.task', startLater=number == 2)
            for number in range(3))
        self.service.cancel(cancelled)
        self.service.processNext(jobid=run)
        transaction.commit()
        self.assertEqual([cancelled], self.pages(status=CANCELLED))
        self.assertEqual([run], self.pages(status=COMPLETED))
        self.assertEqual([started], self.pages(status=STARTLATER))

    def test_requeued(self):
        """A requeued job is found as queued, before it is passed again."""
        jobid = self.add('test.task', 'fail')
        self.claim()
        self.finish()
        self.assertEqual([jobid], self.pages(status=ERROR))
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.pages(status=QUEUED))
        self.assertEqual([], self.pages(status=ERROR))
        self.service.cancel(jobid)
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.pages(status=QUEUED))

    def test_claimed(self):
        """Claimed jobs are processing, and nothing else."""
        ids = [self.add('test.task') for _ in range(7)]
        self.claim(5)
        self.assertCountEqual(ids[:5], self.pages(status=PROCESSING))
        self.assertCountEqual(ids[5:], self.pages(status=QUEUED))

    def test_waiting(self):
        """Delayed and cron jobs are found before and after a look."""
        delayed = self.service.addCronJob('test.task', delay=10)
        cron = self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        for _ in range(2):
            self.assertEqual([delayed], self.pages(status=DELAYED))
            self.assertEqual([cron], self.pages(status=CRONJOB))
            self.claim(now=0)

    def test_removed(self):
        """Removed jobs are on no page."""
        ids = [self.add('test.task') for _ in range(40)]
        self.claim()
        self.finish()
        for jobid in ids[::2]:
            self.service.remove(jobid)
        transaction.commit()
        self.check_once()
        self.check_once(status=COMPLETED)

    def test_by_task(self):
        """Only jobs of a task, if one is named."""
        self.task(self.calls, 'test.other')
        ids = [self.add('test.other' if number % 3 else 'test.task')
               for number in range(12)]
        expected = [jobid for number, jobid in enumerate(ids) if number % 3]
        self.assertEqual(expected[::-1], self.pages(task='test.other'))
        self.assertEqual([], self.pages(task='test.unknown'))

    def test_by_function(self):
        """Only stored calls of a function, if one is named."""
        ids = [self.add('test.task', Call(f'module.f{number % 2}'))
               for number in range(6)]
        self.add('test.task', 'no call')
        self.assertEqual(ids[1::2][::-1], self.pages(function='module.f1'))

    def test_few_that_match(self):
        """A page may have fewer than asked, and not be the last."""
        jobid = self.add('test.task', Call('module.f'))
        for _ in range(200):
            self.service.add('test.task')
        transaction.commit()
        page = self.service.find(function='module.f', limit=2)
        self.assertEqual([], page.jobs)
        self.assertIsNotNone(page.after)
        self.assertEqual([jobid], self.pages(function='module.f'))

    def test_added_meanwhile(self):
        """Jobs that come between two pages neither hide nor repeat any."""
        ids = [self.add('test.task') for _ in range(10)]
        page = self.service.find(limit=4)
        for _ in range(30):
            self.add('test.task')
        found = [job.id for job in page.jobs]
        while page.after is not None:
            page = self.service.find(limit=4, after=page.after)
            found += [job.id for job in page.jobs]
        self.assertEqual(ids[::-1], found)


class Call(persistent.Persistent):
    """A stored call."""

    canBeReferredTo = True

    def __init__(self, name):
        self.function_name = name


def packed(told):
    """Return what is packed as a bookmark, whatever it is."""
    return base64.urlsafe_b64encode(zlib.compress(told)).decode()


BAD_BOOKMARKS = [
    *(bookmark.write(*each) for each in (
        ('ledger', 'x'), ('all', 'x'), ('claims', 3), ('unknown', {}),
        ('all', {1: -2}), ('all', {1: 1 << 63}))),
    *map(packed, (
        b'', b'x', b'1', b'[]', b'{}', b'[' * 10000, b'["all"]',
        b'["all",[1],[1],[1]]', b'["all",[1,2],[1]]', b'["all",["a"],["b"]]',
        b'["all",[[1]],[1]]', b'["all",[true],[1]]', b'["all",1,1]',
        b'["all","aa","aa"]', b'[["all"],[1],[1]]', b'\xff',
        b'["legacy",%s]' % (b' ' * bookmark.MOST))),
    packed(b'["legacy",5]')[:-8]]


class BookmarkTest(unittest.TestCase):

    def check(self, position):
        """Return how long it is as a text."""
        text = bookmark.write('all', position)
        self.assertEqual(('all', position), bookmark.read(text))
        self.assertRegex(text, '^[a-zA-Z0-9_-]+$')
        return len(text)

    def strands(self, lanes, priorities, most):
        """Return positions in all strands, some number or other."""
        return {numbering.make_id(0, lane, priority): (
            (lane * 7919 + priority * 104729) * 1299709 % most)
            for lane in range(lanes) for priority in range(priorities)}

    def test_short(self):
        """It fits into an address, with as many lanes as there are mostly."""
        self.assertLess(self.check(self.strands(128, 3, 10 ** 5)), 2000)
        self.assertLess(self.check(self.strands(1024, 1, 10 ** 6)), 6000)

    def test_longest(self):
        """The pages take it with all of them in use."""
        self.assertLess(
            self.check(self.strands(numbering.MAX_LANES, 10, 1 << 49)),
            parameters.AFTER_SIZE)

    def test_others(self):
        for position in ({}, {5: 0}, 5, [0.1, 7],
                         [1795651200.123457, 1 << 62]):
            self.assertEqual(('x', position), bookmark.read(
                bookmark.write('x', position)))


class BadInputTest(ListingCase):

    def test_refused(self):
        """What is no status, limit or `after` is named and refused."""
        self.add('test.task')
        for name, values in {
                'status': ('asleep', 1, ''),
                'limit': (0, -1, 'a', 1.5, None, True),
                'after': ('', 'x', '[]', '{}', '1', '[1]', '["all"]',
                          '["all", 1, 2]', '["ledger", "x"]', '["all", "x"]',
                          '["claims", 3]', '["unknown", {}]', 1,
                          *BAD_BOOKMARKS)}.items():
            for value in values:
                for status in (QUEUED, COMPLETED, HELD, PROCESSING, None):
                    selection = {'status': status, name: value}
                    with self.subTest(**selection), \
                            self.assertRaises(ValueError):
                        self.service.find(**selection)


class LegacyTest(unittest.TestCase):
    """Jobs of the old package, whose ids have 32 bits."""

    def test_place_beyond(self):
        """No key can be what somebody has made up."""
        job = unittest.mock.Mock(_p_state=0)
        store = unittest.mock.Mock(legacy=IOBTree({5: job}))
        with unittest.mock.patch.object(
                whereabouts.lookup, 'find', return_value=job):
            for after, expected in (
                    (None, [5]), (6, [5]), (5, []), (-1, []), (0, []),
                    (2 ** 31, [5]), (2 ** 62, [5])):
                self.assertEqual(expected, [
                    key for _, key, _ in whereabouts._legacy(
                        store, after, Selection())])


class CostTest(ListingCase):

    def loaded(self, **selection):
        """Return how many objects a fresh connection loads for a page."""
        self.db.cacheMinimize()
        other = Opened(self)
        other.connection.cacheMinimize()
        other.connection.getTransferCounts(clear=True)
        other.service.find(**selection)
        return other.connection.getTransferCounts()[0]

    def test_pages_read_little(self):
        """Among 5000 jobs a page of 20 loads about as many objects."""
        for _ in range(2500):
            self.service.add('test.task')
        transaction.commit()
        self.claim(2500)
        self.finish()
        for _ in range(2500):
            self.service.add('test.task')
        transaction.commit()
        self.assertEqual(5000, len(self.service.jobs))
        for status in (None, QUEUED, COMPLETED, ERROR, PROCESSING):
            with self.subTest(status=status):
                self.assertLess(self.loaded(status=status, limit=20), 110)

    def test_behind_cancellations(self):
        """Nobody has heard of 1500 of them; what is behind is found at once.

        Among them, and before: what waits to be run once, later or again, and
        what is held; failed and completed jobs are where they always are.
        """
        for number in range(4):
            self.service.add('test.task', 'fail' if number % 2 else None)
        transaction.commit()
        self.claim()
        self.finish()
        self.one_of_each()
        for _ in range(3):
            for _ in range(500):
                self.service.cancel(self.service.add('test.task'))
            self.one_of_each()
        for status in (ERROR, COMPLETED, STARTLATER, DELAYED, CRONJOB, HELD):
            with self.subTest(status=status):
                page = self.service.find(status=status)
                self.assertEqual(
                    2 if status in (ERROR, COMPLETED) else 4, len(page.jobs))
                self.assertLess(self.loaded(status=status), 130)
                self.assertIsNone(page.after)

    def one_of_each(self):
        """Add jobs that wait in each way, and one that is held; commit."""
        self.service.add('test.task', startLater=True)
        self.service.addCronJob('test.task', delay=10)
        self.service.addCronJob('test.task', hour=2)
        job = self.service.jobs[self.service.add('test.task')]
        self.service.store.change(job, job.hold, 'no reason', NOW)
        transaction.commit()

    def test_counts_read_little(self):
        """To count them reads no job."""
        for _ in range(5000):
            self.service.add('test.task')
        transaction.commit()
        other = Opened(self)
        other.connection.cacheMinimize()
        other.connection.getTransferCounts(clear=True)
        self.assertEqual(5000, other.service.counts()[QUEUED])
        self.assertLess(other.connection.getTransferCounts()[0], 60)
