"""What was counted is stored by workers, and kept when they are gone."""

import unittest.mock

import transaction

from lovely.remotetask.management import Management
from lovely.remotetask.measure import OTHERS
from lovely.remotetask.measure import Functions
from lovely.remotetask.measure import Slice
from lovely.remotetask.storage import meter
from lovely.remotetask.storage.meter import LEVELS
from lovely.remotetask.storage.meter import Meter
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine


DAY = 86400
OTHER = 'host:999999999:thread:othermachine-1-token'
ANOTHER = 'host:999999999:thread:othermachine-1-token2'


def completed(start, number=1, function='f'):
    """Return the Slice of a minute in which some jobs were completed."""
    found = Slice(start, 1, 0.5)
    for _ in range(number):
        found.functions.of(function).count('completed', 1.0, 0.1)
    return found


def total(slices):
    """Return how many jobs were completed, by Slices."""
    return sum(each.functions.total().completed for each in slices)


class MeterCase(DatabaseCase):

    @property
    def store(self):
        return self.service.store

    def slices(self, made, level, since=0):
        return meter.slices(self.store, [made], level, since)


class LevelTest(MeterCase):
    """Minutes, ten of them and hours tell of the same runs."""

    def fill(self, db):
        super().fill(db)
        self.meter = Meter()

    def count(self, minutes, start=0):
        for number in range(minutes):
            self.meter.add((start, number), [completed(start + number * 60)])

    def test_every_level(self):
        """Whatever is not added up yet is told all the same."""
        for minutes in (1, 9, 10, 11, 59, 60, 61, 300):
            self.meter = Meter()
            self.count(minutes)
            for level, (seconds, _, _) in enumerate(LEVELS):
                with self.subTest(minutes=minutes, level=level):
                    found = self.slices(self.meter, level)
                    self.assertEqual(minutes, total(found))
                    self.assertEqual(
                        -(-minutes * 60 // seconds), len(found))

    def test_since(self):
        self.count(30)
        self.assertEqual(10, total(self.slices(self.meter, 0, 20 * 60)))

    def test_bounded(self):
        """However long a worker works, it keeps no more than so much."""
        for hour in range(41 * 24):
            self.count(1, hour * 3600)
        for chunks, (_, _, kept) in zip(
                self.meter.levels, LEVELS, strict=True):
            self.assertLessEqual(len(chunks), kept)
        # All 40 days, by the hour, and what was not added up yet.
        self.assertAlmostEqual(
            40 * 24, total(self.slices(self.meter, 2)), delta=24)

    def test_clock_that_jumps(self):
        """Neither lost nor without an end, whatever the clock shows."""
        for number in range(40):
            start = (number % 2) * 3650 * DAY + number * 60
            self.meter.add(number, [completed(start)])
        self.assertEqual(40, total(self.slices(self.meter, 0)))
        self.assertEqual(40, total(self.slices(self.meter, 2)))
        self.assertLessEqual(len(self.meter.levels[0]), LEVELS[0][2])

    def test_same_again(self):
        """What comes again under its number is there already."""
        for _ in range(3):
            self.meter.add(7, [completed(0)])
        self.assertEqual(1, total(self.slices(self.meter, 0)))

    def test_minutes_together(self):
        """Two numbers may bring parts of the same minute."""
        self.meter.add(1, [completed(0)])
        self.meter.add(2, [completed(0), completed(60)])
        found = self.slices(self.meter, 0)
        self.assertEqual([2, 1], [total([each]) for each in found])

    def test_archive(self):
        """What the dead have counted adds up with what others have."""
        other, archive = Meter(), Meter()
        self.count(90)
        for number in range(90):
            other.add(number, [completed(number * 60)])
        for each in self.meter, other:
            # Whatever is archived already, all is told once.
            while archive.take_some(each, 90 * 60, self.store.read, 4):
                for level in range(3):
                    found = meter.slices(
                        self.store, [archive, self.meter, other], level, 0)
                    self.assertEqual(180, total(found))
        for level in range(3):
            with self.subTest(level):
                self.assertEqual(180, total(self.slices(archive, level)))
        # What somebody's wrong clock has counted keeps nothing else out.
        far = Meter()
        far.add(1, [completed(3650 * DAY)])
        while archive.take_some(far, 90 * 60, self.store.read):
            pass
        self.assertEqual(180, total(self.slices(archive, 0)))


class StoredCase(MeterCase):
    """Has workers that measure, stop and are archived."""

    def measure(self, worker, number, *slices, now=600.0):
        with self.elsewhere() as service:
            engine(service).workers.sign(worker, now)
            engine(service).workers.measure(worker, number, list(slices), now)

    def history(self, level=0, since=0):
        transaction.begin()
        return Management(self.service).history(level, since)

    def archive(self):
        """Look after the service until there is nothing to archive."""
        for _ in range(20):
            with self.elsewhere() as service:
                engine(service).upkeep.look_after(1e9)
        transaction.begin()

    def ever(self):
        transaction.begin()
        return Management(self.service).total().total().completed


class StoredTest(StoredCase):
    """A service has the meters of its workers, and of those before."""

    def test_comes_back(self):
        """One that was taken for gone, comes back and goes once more."""
        for number in range(3):
            self.measure(OTHER, number, completed(60 * number))
            with self.elsewhere() as service:
                engine(service).workers.release_worker(OTHER)
        self.assertEqual(3, total(self.history()))
        self.archive()
        self.assertEqual(3, total(self.history()))

    def test_two_at_once(self):
        """Two that are dropped at the same moment do not meet.

        Unless one of them is the first one of a tree, which is special.
        """
        for worker in 'a:1:t:x', 'b:1:t:x', OTHER, ANOTHER, 'z:1:t:x':
            self.measure(worker, 1, completed(0))
        with self.elsewhere() as service:
            engine(service).workers.stop_worker('b:1:t:x')
        transaction.begin()
        engine(self.service).workers.stop_worker(OTHER)
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(ANOTHER)
        transaction.commit()
        self.assertEqual(5, total(self.history()))

    def test_total(self):
        """It only grows: also while workers come, go and cannot be read."""
        for number in range(3):
            self.measure(OTHER, number, completed(number * 60))
            self.assertEqual(number + 1, self.ever())
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        self.measure(ANOTHER, 1, completed(0))
        self.assertEqual(4, self.ever())
        transaction.begin()
        with self.unreadable(self.store.workers[ANOTHER].meter.total._p_oid):
            self.assertEqual(3, self.ever())
            self.measure(ANOTHER, 2, completed(0))
            self.assertEqual(4, self.ever())

    def test_workers(self):
        """The history is that of all workers together."""
        self.measure(OTHER, 1, completed(0))
        self.measure(ANOTHER, 1, completed(0), completed(60))
        self.assertEqual(3, total(self.history()))

    def test_presence(self):
        """A worker without a job tells that it was there, and what waits."""
        self.task(lambda input: None)
        self.add('test.task')
        self.measure(OTHER, 1)
        found, = self.history()
        self.assertEqual((600, 1), (found.start, found.depth))
        self.assertEqual({}, found.functions)

    def test_dropped(self):
        """What a worker has counted outlives it, however it ends."""
        for number, end in enumerate((
                lambda found: found.workers.stop_worker(OTHER),
                lambda found: found.workers.release_worker(OTHER, 1e9)), 1):
            self.measure(OTHER, 1, completed(60 * number))
            with self.elsewhere() as service:
                end(engine(service))
            self.assertEqual(number, total(self.history()))
            self.assertEqual(number, self.ever())
            self.archive()
            self.assertEqual(number, total(self.history()))
            self.assertEqual(number, total(self.history(2)))
            self.assertEqual(number, self.ever())
            self.assertEqual(0, len(self.store.parted))
            self.assertEqual(0, len(self.store.workers))

    def test_store_of_before(self):
        """Without a meter on the record, and without an archive."""
        self.measure(OTHER, 1, completed(0))
        transaction.begin()
        self.store.workers[OTHER].meter = None
        self.store.archive = self.store.parted = None
        transaction.commit()
        self.assertEqual([], self.history())
        self.measure(OTHER, 2, completed(0))
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        self.assertEqual(1, total(self.history()))

    def test_unreadable_meter(self):
        """What cannot be read of it is lost; all else goes on."""
        self.check_unreadable(lambda meter: meter)

    def test_unreadable_chunk(self):
        self.check_unreadable(lambda meter: meter.levels[0][0])

    def check_unreadable(self, broken):
        self.measure(OTHER, 1, completed(0))
        self.measure(ANOTHER, 1, completed(60))
        transaction.begin()
        oid = broken(self.store.workers[OTHER].meter)._p_oid
        with self.unreadable(oid):
            self.assertEqual(1, total(self.history()))
            self.measure(OTHER, 2, completed(120))
            self.assertEqual(2, total(self.history()))
            with self.elsewhere() as service:
                engine(service).workers.stop_worker(OTHER)
            self.assertEqual(2, total(self.history()))
            self.archive()
            self.assertEqual(2, total(self.history()))

    def measure_minutes(self, number):
        """Let a worker count a job in each of so many minutes."""
        for count in range(number):
            start = 600 + count * 60
            self.measure(OTHER, count, completed(start), now=float(start))
        transaction.begin()

    def test_unreadable_chunk_among_others(self):
        """Nothing else is lost with it: neither the total, nor minutes."""
        self.measure_minutes(40)
        # The last one, to which is added: ten minutes.
        oid = self.store.workers[OTHER].meter.levels[0][-1]._p_oid
        with self.unreadable(oid):
            self.measure(OTHER, 40, completed(600))
            self.assertEqual((31, 41), (total(self.history()), self.ever()))

    def test_unreadable_chunk_of_the_dead(self):
        """The same if its worker is gone."""
        self.measure_minutes(40)
        oid = self.store.workers[OTHER].meter.levels[0][-1]._p_oid
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        with self.unreadable(oid):
            self.archive()
            self.assertEqual(0, len(self.store.parted))
            self.assertEqual((30, 40), (total(self.history()), self.ever()))

    def test_chunk_that_cannot_be_added(self):
        """Whatever is in it, the total is kept."""
        self.measure_minutes(1)
        chunk, = self.store.workers[OTHER].meter.levels[0]
        chunk.slices = (('no time', 1, 0.5, {}),)
        transaction.commit()
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        self.archive()
        self.assertEqual(0, len(self.store.parted))
        self.assertEqual(1, self.ever())

    def test_odd_chunk_of_the_archive(self):
        """It costs nothing of what others have counted."""
        self.measure_minutes(1)
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        self.archive()
        chunk, = self.store.archive.levels[0]
        chunk.slices = ((600, 1, 0.5, {'echo': 'no counts'}),)
        transaction.commit()
        self.measure_minutes(3)
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(OTHER)
        self.archive()
        self.assertEqual(3, sum(
            each.functions.number('completed') for each in self.history()))

    def test_no_archive_yet(self):
        """In a store of before there is none: nothing to tell of."""
        self.store.archive = None
        transaction.commit()
        with self.assertNoLogs('lovely.remotetask', 'WARNING'):
            self.measure_minutes(1)
        self.assertEqual(1, self.ever())

    def test_facts(self):
        """Workers tell who they are; of those of before nothing is known."""
        facts = {'host': 'h', 'pid': 1, 'kind': 'K', 'threads': 2,
                 'started': 3.0}
        with self.elsewhere() as service:
            engine(service).workers.sign(OTHER, 1.0, facts, 55.0)
            engine(service).workers.sign(ANOTHER, 1.0)
        transaction.begin()
        known, unknown = Management(self.service).workers()
        self.assertEqual({**facts, 'memory': 55.0}, {
            name: known[name] for name in (*facts, 'memory')})
        self.assertEqual({None}, {
            unknown[name] for name in (*facts, 'memory')})


class NamesTest(StoredCase):
    """Which functions are told apart does not change: no number falls."""

    def setUp(self):
        super().setUp()
        self.enterContext(
            unittest.mock.patch.object(Functions, 'most', 3))

    def count(self, worker, *names, number=1):
        found = Slice(600)
        for name in names:
            found.functions.of(name).count('failed', 1.0)
        self.measure(worker, number, found)

    def told(self):
        """Return how many runs have failed, by the name of the function."""
        transaction.begin()
        return {name: counts.failed for name, counts in Management(
            self.service).total().items()}

    def stop(self, worker):
        with self.elsewhere() as service:
            engine(service).workers.stop_worker(worker)

    def test_workers_go(self):
        """Whatever each of them has counted first, and who goes first."""
        self.count(OTHER, 'f1', 'f2')
        self.count(ANOTHER, 'g1', 'g2', 'g3')
        self.count('a:1:t:x', 'h1', 'f1')
        before = self.told()
        self.assertEqual({'f1': 2, 'f2': 1, 'g1': 1, OTHERS: 3}, before)
        for worker in ANOTHER, 'a:1:t:x', OTHER:
            self.stop(worker)
            self.assertEqual(before, self.told())
            self.archive()
            self.assertEqual(before, self.told())

    def test_worker_comes(self):
        """What was told before it keeps its name, and gets what it counts."""
        self.count(OTHER, 'f1')
        self.count('a:1:t:x', 'g1', 'g2', 'g3')
        self.assertEqual(
            {'f1': 1, 'g1': 1, 'g2': 1, OTHERS: 1}, self.told())
        self.count(ANOTHER, 'h1', 'f1')
        self.assertEqual(
            {'f1': 2, 'g1': 1, 'g2': 1, OTHERS: 2}, self.told())

    def test_archive_that_cannot_be_read(self):
        """Workers tell what they count all the same."""
        self.count(OTHER, 'f1')
        transaction.begin()
        archive = self.store.archive
        for number, record in enumerate((archive.total, archive), 2):
            with self.unreadable(record._p_oid):
                self.count(f'{number}:1:t:x', 'f1')
                self.assertEqual({'f1': number}, self.told())

    def test_written_once(self):
        """Whoever counts the same again writes nothing of the archive."""
        serials = []
        for number in range(3):
            self.count(OTHER, 'f1', number=number)
            transaction.begin()
            self.store.archive.total._p_activate()
            serials.append(self.store.archive.total._p_serial)
        self.assertEqual(1, len(set(serials)))
