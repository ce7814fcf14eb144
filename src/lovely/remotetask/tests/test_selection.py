"""Which jobs are found, how far a page looks, and what it leaves loaded."""

import datetime
import unittest.mock

import persistent
import transaction

from lovely.remotetask.history import Details
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IPage
from lovely.remotetask.job import Job
from lovely.remotetask.storage import backwards
from lovely.remotetask.storage import numbering
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.test_listing import ListingCase
from lovely.remotetask.tests.test_store import NOW


class StoredCall(persistent.Persistent):
    """An input that says what it calls, like those of gocept.async."""

    canBeReferredTo = True

    def __init__(self, name, principal=None, argument=None):
        self.name = name
        self.principal = principal
        self.argument = argument

    def __getattribute__(self, name):
        stored = {'function_name': 'name', 'principal_id': 'principal'}
        if name not in stored:
            return super().__getattribute__(name)
        was_ghost = self._p_changed is None
        found = super().__getattribute__(stored[name])
        if was_ghost:
            self._p_deactivate()
        return found


class SelectionCase(ListingCase):

    def ended(self, *times, input='fail'):
        """Add jobs that end at some times.  Return their ids."""
        ids = []
        for time in times:
            ids.append(self.add('test.task', input))
            self.service.processNext(time, ids[-1])
            transaction.commit()
        self.claim()
        return ids

    def added(self, *times, **kw):
        """Add jobs at some times.  Return their ids."""
        ids = []
        for time in times:
            with unittest.mock.patch('lovely.remotetask.job.time.time',
                                     lambda time=time: time):
                ids.append(self.add('test.task', **kw))
        return ids

    def fresh(self):
        """Return the service in a connection that has nothing loaded."""
        other = Opened(self)
        other.connection.cacheMinimize()
        return other.service


class FilterTest(SelectionCase):

    def test_error_class(self):
        """Only jobs whose last error is of a class, whatever their status."""
        def other(input):
            raise LookupError(input)
        self.task(other, 'test.other')
        failed = self.ended(NOW)
        self.service.processNext(NOW, self.add('test.other'))
        self.add('test.task')
        transaction.commit()
        found = self.service.jobs[failed[0]].errorClass
        self.assertEqual(failed, self.pages(errorClass=found))
        self.assertEqual(failed, self.pages(errorClass=found, status=ERROR))
        self.assertEqual([], self.pages(errorClass='TaskError'))
        self.assertEqual([], self.pages(errorClass=''))

    def test_principal(self):
        """Only calls of a principal; others have none."""
        ids = [self.add('test.task', StoredCall('module.f', principal))
               for principal in ('jane', None, 'joe', 'jane')]
        self.add('test.task', 'no call')
        self.assertEqual([ids[3], ids[0]], self.pages(principal='jane'))
        self.assertEqual([ids[2]], self.pages(principal='joe', status=QUEUED))
        self.assertEqual([], self.pages(principal=''))

    def test_all_together(self):
        """Each one narrows the others."""
        ids = [self.add('test.task', StoredCall(name, principal))
               for name in 'fg' for principal in ('jane', 'joe')]
        self.assertEqual(
            [ids[1]], self.pages(function='f', principal='joe',
                                 task='test.task', status=QUEUED, since=0))
        self.assertEqual([], self.pages(function='f', until=1))

    def test_of_a_job(self):
        """A job tells what it calls, and for whom."""
        job = self.job(self.add('test.task', StoredCall('module.f', 'jane')))
        self.assertEqual(('module.f', 'jane'), (job.function, job.principal))
        job = self.job(self.add('test.task', {'a': 1}))
        self.assertEqual((None, None), (job.function, job.principal))

    def test_bad_values(self):
        """What is no name and no time is refused, and named."""
        for name, values in {
                'function': (1, b'x', ['f']), 'principal': (5, True),
                'errorClass': (ValueError,), 'task': (1,),
                'since': ('yesterday', float('nan'), 1e300, True),
                'until': (datetime.datetime.now(), b'', -1e300),
                'as_of': (1, '', 'x' * 16, '0' * 15, '0' * 17, b'0' * 16,
                          ' ' * 16, '00 00 00 00 00 0')}.items():
            for value in values:
                with self.subTest(name, value=value), \
                        self.assertRaises(ValueError):
                    self.service.find(**{name: value})


class RangeTest(SelectionCase):
    """The time of a job is that by which its list is sorted."""

    def test_at_rest(self):
        """When it came to rest: from `since` on, before `until`."""
        ids = self.ended(NOW, NOW + 10, NOW + 20, NOW + 30)
        self.ended(NOW + 15, input=None)
        for status, since, until, expected in (
                (ERROR, NOW + 10, NOW + 30, ids[2:0:-1]),
                (ERROR, NOW + 11, None, ids[:1:-1]),
                (ERROR, None, NOW + 10, ids[:1]),
                (ERROR, NOW + 11, NOW + 11, []),
                (COMPLETED, NOW + 16, None, [])):
            with self.subTest(status=status, since=since, until=until):
                for limit in (1, 50):
                    self.assertEqual(expected, self.pages(
                        limit, status=status, since=since, until=until))

    def test_at_one_moment(self):
        """Jobs that came to rest at the same time are each found once."""
        ids = self.ended(*[NOW] * 7)
        for limit in (1, 2, 3):
            self.assertCountEqual(ids, self.pages(
                limit, status=ERROR, since=NOW, until=NOW + 1))
        self.assertEqual([], self.pages(status=ERROR, until=NOW))

    def test_not_listed_yet(self):
        """Nor does it matter whether processors know of it."""
        jobid = self.add('test.task')
        self.service.cancel(jobid)
        transaction.commit()
        now = self.job(jobid).completed.timestamp()
        for _ in range(2):
            self.assertEqual(
                [jobid], self.pages(status=CANCELLED, since=now))
            self.assertEqual([], self.pages(status=CANCELLED, until=now))
            self.claim()

    def test_added(self):
        """Of all jobs, and of those that wait: when they were added."""
        ids = self.added(*range(1000, 1100))
        for status in (None, QUEUED):
            with self.subTest(status=status):
                self.assertEqual(ids[79:39:-1], self.pages(
                    status=status, since=1040, until=1080))
                self.assertEqual(ids[:39:-1], self.pages(
                    status=status, since=1040))
                self.assertEqual(ids[39::-1], self.pages(
                    status=status, until=1040))

    def test_added_in_many_lanes(self):
        """Whatever was removed, noted or cannot be read in between."""
        other = Opened(self)
        ids = []
        for number in range(200):
            with unittest.mock.patch('lovely.remotetask.job.time.time',
                                     lambda number=number: 1000 + number):
                other.manager.begin()
                ids += [self.add('test.task'), other.add('test.task')]
        transaction.begin()
        gone = ids[3::3]
        for jobid in gone:
            self.service.remove(jobid)
        transaction.commit()
        left = [jobid for jobid in ids if jobid not in gone]
        for _ in range(2):
            for since, until in ((1020, 1180), (1100, 1101), (None, 1001),
                                 (1199, None), (0, 1), (2000, 3000)):
                expected = [jobid for number, jobid in enumerate(ids)
                            if (since or 0) <= 1000 + number // 2 <
                            (until or 9e9) and jobid in left]
                with self.subTest(since=since, until=until):
                    self.assertCountEqual(
                        expected, self.pages(since=since, until=until))
            self.claim(1000)

    def test_claimed(self):
        """Of what is processing: when it was claimed."""
        ids = [self.add('test.task') for _ in range(2)]
        self.claim(1, now=NOW)
        self.claim(1, now=NOW + 10)
        self.assertEqual(
            ids[1:], self.pages(status=PROCESSING, since=NOW + 5))
        self.assertEqual(
            ids[:1], self.pages(status=PROCESSING, until=NOW + 5))


class AsOfTest(SelectionCase):
    """What has changed since a page was shown is on none of its kind."""

    def test_added_later(self):
        seen = self.add('test.task')
        as_of = self.service.find().as_of
        self.add('test.task')
        self.service.add('test.task')
        self.assertEqual([seen], self.pages(as_of=as_of))
        self.assertEqual([seen], self.pages(as_of=as_of, status=QUEUED))

    def test_changed_later(self):
        """It was another job then: it has failed once more, say."""
        ids = self.ended(NOW, NOW, NOW)
        transaction.begin()
        as_of = self.service.find(status=ERROR).as_of
        self.service.requeue(ids[1])
        transaction.commit()
        self.service.processNext(NOW, ids[1])
        transaction.commit()
        self.assertEqual(3, len(self.pages(status=ERROR)))
        self.assertCountEqual(
            ids[::2], self.pages(status=ERROR, as_of=as_of))

    def test_of_another_connection(self):
        """That of the snapshot that the page shows, not of the database."""
        other = Opened(self)
        other.manager.begin()
        first = self.add('test.task')
        self.assertEqual([], other.service.find().jobs)
        as_of = other.service.find().as_of
        transaction.begin()
        self.assertEqual([], self.pages(as_of=as_of))
        other.manager.begin()
        as_of = other.service.find().as_of
        self.assertEqual([first], self.pages(as_of=as_of))

    def test_books_are_no_change(self):
        """Processors may have listed the job meanwhile."""
        jobid = self.add('test.task')
        self.service.cancel(jobid)
        transaction.commit()
        as_of = self.service.find().as_of
        self.claim()
        self.assertEqual([jobid], self.pages(status=CANCELLED, as_of=as_of))


class PageTest(SelectionCase):

    def test_interface(self):
        """A page tells what it has looked at."""
        ids = self.ended(NOW, NOW + 10)
        page = self.service.find(status=ERROR, limit=1)
        self.assertTrue(IPage.providedBy(page))
        self.assertEqual(ids[1:], [job.id for job in page.jobs])
        self.assertEqual(1, page.looked_at)
        self.assertEqual(NOW + 10, page.looked_back_to.timestamp())
        self.assertEqual(datetime.UTC, page.looked_back_to.tzinfo)
        self.assertRegex(page.as_of, '^[0-9a-f]{16}$')

    def test_of_nothing(self):
        page = self.service.find(status=HELD)
        self.assertEqual((0, None), (page.looked_at, page.looked_back_to))

    def test_looked_back(self):
        """Where few match, it tells how far back it has looked."""
        self.added(*range(1000, 1100))
        page = self.service.find(function='unknown', limit=2)
        self.assertEqual([], page.jobs)
        self.assertIsNotNone(page.after)
        self.assertEqual(1100 - page.looked_at,
                         page.looked_back_to.timestamp())

    def test_thousand(self):
        """It looks at 1000, however many are wanted."""
        for _ in range(1100):
            self.service.add('test.task')
        transaction.commit()
        page = self.service.find(function='unknown', limit=500)
        self.assertEqual(1000, page.looked_at)

    def test_deadline(self):
        """It ends after a time; and gets on, even if that is over."""
        ids = self.ended(*range(1000, 1005))
        for status in (ERROR, None):
            found, after = [], None
            for _ in range(20):
                page = self.service.find(
                    status=status, after=after, deadline=0)
                self.assertLessEqual(page.looked_at, 1)
                found += [job.id for job in page.jobs]
                after = page.after
                if after is None:
                    break
            self.assertEqual(ids[::-1], found)


class CacheTest(SelectionCase):
    """What a page has looked at in vain is not loaded afterwards."""

    def loaded(self, service, *kinds):
        """Return the loaded objects of some classes, or of others of theirs.
        """
        return [found for _, found in service._p_jar._cache.items()
                if isinstance(found, kinds) and found._p_changed is not None]

    def add_calls(self):
        for number in range(60):
            self.service.add(
                'test.task', StoredCall('module.f', 'jane', Argument()),
                startLater=number % 2)
        transaction.commit()

    def check(self, expected=0, **selection):
        service = self.fresh()
        service.find(function='module.unknown', **selection)
        self.assertEqual(expected, len(self.loaded(service, Job)))
        self.assertEqual([], self.loaded(service, StoredCall, Argument))

    def test_jobs(self):
        """New, waiting and at rest."""
        self.add_calls()
        self.check()
        self.check(status=QUEUED)
        self.claim(40)
        self.finish()
        for status in (None, COMPLETED, 'start later', CANCELLED):
            with self.subTest(status=status):
                self.check(status=status)

    def test_scheduled(self):
        for _ in range(20):
            self.service.addCronJob('test.task', StoredCall('f'), delay=100)
        transaction.commit()
        self.claim(now=0)
        for status in ('delayed', 'queued', 'cronjob', None):
            with self.subTest(status=status):
                self.check(status=status)

    def test_loaded_before(self):
        """What somebody else has loaded stays."""
        self.add_calls()
        service = self.fresh()
        jobs = [job for job in service.jobs.values() if job.status]
        service.find(function='module.unknown')
        self.assertTrue(all(job._p_changed is False for job in jobs))

    def test_changed(self):
        """What was changed stays changed."""
        self.add_calls()
        service = self.fresh()
        jobid = service.add('test.task')
        service.find(function='module.unknown')
        self.assertEqual('queued', service.getStatus(jobid))

    def test_those_of_the_page(self):
        """They are loaded, their arguments are not, nor is any traceback."""
        self.add_calls()
        for number in range(20):
            self.ended(NOW + number, input='fail')
        service = self.fresh()
        page = service.find(status=ERROR, errorClass=self.service.find(
            status=ERROR).jobs[0].errorClass)
        for job in page.jobs:
            repr((job, job.function, job.history, job.errorClass))
        self.assertEqual(20, len(self.loaded(service, Job)))
        self.assertEqual([], self.loaded(service, Details, StoredCall))

    def test_arguments_by_reference(self):
        """An input that is a persistent object of the application."""
        self.add('test.task', Argument())
        self.claim()
        service = self.fresh()
        service.find(function='module.f', principal='jane')
        service.find(function='module.f')
        self.assertEqual([], self.loaded(service, Argument))


class Argument(persistent.Persistent):

    function_name = 'module.f'


class SeekTest(SelectionCase):
    """A range far back costs no more than one that is near."""

    def count(self, **selection):
        service = self.fresh()
        service._p_jar.getTransferCounts(clear=True)
        page = service.find(**selection)
        return service._p_jar.getTransferCounts()[0], page

    def test_at_rest(self):
        for _ in range(3000):
            self.service.add('test.task')
        transaction.commit()
        for number in range(30):
            transaction.begin()
            self.claim(100, now=NOW + number)
            self.finish()
        # `finish` ends them all at one time; so they are listed by their ids.
        trees = self.service.store.ledger.trees(COMPLETED)
        keys = sorted(key for tree in trees for key in tree)
        loads, page = self.count(status=COMPLETED, until=keys[10][0] + 1)
        self.assertEqual(50, len(page.jobs))
        self.assertLess(loads, 120)

    def test_added(self):
        """Of all jobs."""
        with unittest.mock.patch(
                'lovely.remotetask.job.time.time',
                iter(range(10_000, 20_000)).__next__):
            ids = [self.service.add('test.task') for _ in range(3000)]
        transaction.commit()
        # Others ask what time it is, too.
        before = [jobid for jobid in ids if self.service.jobs[
            jobid].created.timestamp() < 10_100]
        loads, page = self.count(until=10_100, limit=20)
        self.assertEqual(before[:-21:-1], [job.id for job in page.jobs])
        self.assertLess(page.looked_at, 40)
        self.assertLess(loads, 130)
        loads, page = self.count(since=12_990, limit=20)
        self.assertIsNone(page.after)
        self.assertLess(loads, 100)

    def test_seek(self):
        """It never goes too far back, whatever is gone or cannot be read."""
        with unittest.mock.patch(
                'lovely.remotetask.job.time.time',
                iter(range(10_000, 20_000)).__next__):
            ids = [self.service.add('test.task') for _ in range(500)]
        transaction.commit()
        for jobid in ids[100:400]:
            self.service.remove(jobid)
        transaction.commit()
        self.claim(500)
        transaction.begin()
        _, number, _ = numbering.split_id(ids[0])
        strand = self.service.store.lanes[number].strands[5]
        for jobid in (*ids[:100:7], *ids[400::7]):
            created = self.service.jobs[jobid].created.timestamp()
            found = backwards.seek(self.service.store, strand, created + 0.5)
            self.assertGreater(found, numbering.split_id(jobid)[0])

    def test_a_backlog(self):
        """A status that nothing new has is looked for without loading jobs."""
        for _ in range(1600):
            self.service.add('test.task')
        transaction.commit()
        loads, page = self.count(status='cronjob')
        self.assertEqual((0, None), (page.looked_at, page.after))
        self.assertLess(loads, 200)
