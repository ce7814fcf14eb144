"""Several short jobs in one transaction: each has exactly one effect."""

import contextlib
import threading
import unittest.mock

import transaction
import zope.component
from ZODB.POSException import ConflictError

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.running import group
from lovely.remotetask.running import processstate
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import StoreCase


class GroupCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.runs = []
        self.trouble = lambda service: None
        self.service_task(self.work, 'test.work')

    def work(self, service, input):
        self.runs.append(input)
        effect(service, input)
        if input == 'trouble':
            self.trouble(service)
        return input

    def run_group(self, *inputs, commit=transaction.commit, others=()):
        """Run jobs with these inputs together; return their statuses."""
        ids = [self.service.add('test.work', input) for input in inputs]
        ids += others
        transaction.commit()
        claims = engine(self.service).claim(A, 100, NOW)
        transaction.commit()
        self.before = self.jobs_db.lastTransaction()
        with logged('lovely.remotetask') as self.lines:
            group.run_group(self.db, ['tasks'], claims, commit)
        transaction.begin()
        engine(self.service).settle(A, ids)
        transaction.commit()
        self.check_counts()
        self.ids = ids
        return [self.job(jobid).status for jobid in ids]

    def transactions(self):
        return len([record for record in self.jobs_db.storage.iterator()
                    if record.tid > self.before]) - 1


class GroupTest(GroupCase):

    def test_one_transaction(self):
        """All effects and results are committed at once."""
        self.assertEqual([COMPLETED] * 3, self.run_group(1, 2, 3))
        self.assertEqual([1, 2, 3], self.effects)
        self.assertEqual(1, self.transactions())
        self.assertEqual([1, 2, 3], [
            self.job(jobid).output for jobid in self.ids])

    def test_a_failing_job(self):
        """Nothing stays of it, and the others are run once more.

        It fails once, for all that is known of it; each has one effect.
        """
        def trouble(service):
            raise TaskError('An error occurred.')
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)
        self.assertEqual([1, 'trouble', 1, 2], self.runs)
        self.assertEqual('An error occurred.', self.job(self.ids[1]).error)
        self.assertEqual(2, self.transactions())

    def test_traceback(self):
        """It begins where the code of the job does."""
        def trouble(service):
            raise TaskError
        self.trouble = trouble
        self.run_group(1, 'trouble', 'trouble')
        for jobid in self.ids[1:]:
            self.assertNotIn('/running/', self.job(jobid).traceback)

    def test_several_that_fail(self):
        """After the first one, each is rolled back alone."""
        def trouble(service):
            raise TaskError
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED, ERROR, ERROR],
            self.run_group(1, 'trouble', 2, 'trouble', 'trouble'))
        self.assertEqual([1, 2], self.effects)
        self.assertEqual(
            [1, 'trouble', 1, 2, 'trouble', 'trouble'], self.runs)
        self.assertEqual([1] * 5, [
            self.job(jobid).attempts for jobid in self.ids])

    def test_no_savepoints_where_all_goes_well(self):
        """They cost as much as the jobs themselves."""
        with unittest.mock.patch.object(
                transaction.manager, 'savepoint') as savepoint:
            self.assertEqual([COMPLETED] * 3, self.run_group(1, 2, 3))
        self.assertEqual([], savepoint.mock_calls)

    def test_the_process_is_looked_at_once_between_two(self):
        """What it is like after one is what it is like before the next."""
        with unittest.mock.patch.object(
                processstate, '_look', wraps=processstate._look) as look:
            self.run_group(1, 2, 3)
        # At first, after each, and in the end.
        self.assertEqual(5, look.call_count)

    def test_changes_that_no_database_was_told_of(self):
        """They are forgotten with the job that has made them."""
        def trouble(service):
            service.__dict__['leak'] = True
            raise TaskError
        self.trouble = trouble
        leaks = []
        self.service_task(
            lambda service, input: leaks.append('leak' in vars(service)),
            'test.look')
        looking = self.service.add('test.look', None)
        self.run_group('trouble', others=[looking])
        self.assertEqual([False], leaks[-1:])

    def test_changes_beside_those_that_are_committed(self):
        """Also of one that fails beside others, which are committed."""
        root = self.service.__parent__
        root.plain, root.number = {}, 0
        transaction.commit()

        def work(service, input):
            root = service.__parent__
            if input is None:
                # The database is not told of that.
                root.plain['leak'] = True
            if input in (None, 'first'):
                raise TaskError
            root.number += 1
        self.service_task(work, 'test.change')
        for inputs in ('first', None, 1), ('first', 1, None, 2):
            with self.subTest(inputs):
                ids = [self.service.add('test.change', input)
                       for input in inputs]
                self.assertEqual(
                    [COMPLETED if input in (1, 2) else ERROR
                     for input in inputs], self.run_group(others=ids))
                self.connection.cacheMinimize()
                self.assertEqual({}, self.service.__parent__.plain)
        self.assertEqual(3, self.service.__parent__.number)

    def test_failure_by_what_is_never_committed(self):
        """A job fails by itself only if those before it are committed."""
        def work(service, input):
            root = service.__parent__
            if input == 'bad':
                root.bad = threading.Lock()
            if input != 'look':
                root.taken = True
            elif getattr(root, 'taken', False):
                raise error
        error = TaskError('taken')
        self.service_task(work, 'test.take')
        for inputs, statuses in (
                (('bad', 'look'), [ERROR, COMPLETED]),
                (('look', 'bad', 'look'), [COMPLETED, ERROR, COMPLETED]),
                (('good', 'look'), [COMPLETED, ERROR])):
            with self.subTest(inputs):
                ids = [self.service.add('test.take', input)
                       for input in inputs]
                self.run_group(others=ids)
                self.assertEqual(
                    statuses, [self.job(jobid).status for jobid in ids])
                # Nothing of the runs is kept.
                self.assertIsNone(error.__traceback__)

    def test_all_fail(self):
        """If all fail nothing else is stored."""
        def trouble(service):
            raise TaskError
        self.trouble = trouble
        self.assertEqual([ERROR] * 2, self.run_group('trouble', 'trouble'))
        self.assertEqual([], self.effects)

    def test_exit(self):
        """sys.exit in one of them ends that alone."""
        def trouble(service):
            raise SystemExit
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def test_a_conflict_at_the_commit(self):
        """All are run again, one by one; each has one effect."""
        conflicts = [ConflictError()]

        def commit():
            if conflicts:
                raise conflicts.pop()
            transaction.commit()
        self.assertEqual(
            [COMPLETED] * 3, self.run_group(1, 2, 3, commit=commit))
        self.assertEqual([1, 2, 3], self.effects)
        self.assertEqual([1, 2, 3, 1, 2, 3], self.runs)
        self.assertEqual(3, self.transactions())
        self.assertEqual([1] * 3, [
            self.job(jobid).attempts for jobid in self.ids])

    def test_a_real_conflict(self):
        """So it is where another has written what one of them writes."""
        def trouble(service):
            if not met:
                met.append(True)
                with self.elsewhere() as other:
                    effect(other, 'other')
        met = []
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED] * 3, self.run_group(1, 'trouble', 2))
        self.assertEqual(['other', 1, 'trouble', 2], self.effects)

    def test_a_function_that_meets_a_conflict(self):
        """A conflict in a function makes the snapshot worthless for all."""
        def trouble(service):
            raise ConflictError
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, QUEUED, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)
        self.assertEqual(1, self.job(self.ids[1]).transients)

    def test_what_one_has_left_for_the_commit_of_another(self):
        """What fails there is not the failure of that one.

        It has a hook, so the group is committed in its context.
        """
        def hooks(service, input):
            effect(service, input)
            transaction.get().addBeforeCommitHook(int)
        self.service_task(hooks, 'test.hooks')
        for leave in (self.leave_synchronizer, self.leave_extension):
            with self.subTest(leave.__name__):
                self.trouble = leave
                self.assertEqual([ERROR, COMPLETED], self.run_group(
                    others=[self.service.add('test.work', 'trouble'),
                            self.service.add('test.hooks', leave.__name__)]))
                self.assertEqual(1, self.effects.count(leave.__name__))

    def test_synchronizer_of_a_failed_job(self):
        """What it would change is not stored with the others."""
        def leave(service):
            def change(txn):
                effect(service, 'changed')
            self.synchronizer = unittest.mock.Mock(beforeCompletion=change)
            transaction.manager.registerSynch(self.synchronizer)
            raise TaskError('An error occurred.')
        self.trouble = leave
        self.assertEqual([ERROR, COMPLETED, ERROR, COMPLETED], self.run_group(
            'trouble', 1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def leave_synchronizer(self, service):
        def fail(txn):
            raise TaskError('An error occurred.')
        # The manager itself refers weakly to it.
        self.synchronizer = unittest.mock.Mock(beforeCompletion=fail)
        transaction.manager.registerSynch(self.synchronizer)

    def leave_extension(self, service):
        transaction.get().setExtendedInfo('unpicklable', lambda: None)

    def test_an_abort(self):
        """A function that aborts takes nothing away from the others."""
        def trouble(service):
            transaction.abort()
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED] * 3, self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def test_an_abort_in_the_first(self):
        """So it is where the first one aborts."""
        self.trouble = lambda service: transaction.abort()
        self.assertEqual(
            [COMPLETED] * 2, self.run_group('trouble', 1))
        self.assertEqual([1], self.effects)

    def test_a_commit(self):
        """A function that commits is in error, the others are not."""
        self.trouble = lambda service: transaction.commit()
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)
        self.assertIn('must not commit', self.job(self.ids[1]).error)

    def test_a_swallowed_commit(self):
        """So it is where it swallows the error."""
        def trouble(service):
            with contextlib.suppress(Exception):
                transaction.commit()
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def test_a_doomed_transaction(self):
        """A function that dooms the transaction is in error alone."""
        self.trouble = lambda service: transaction.doom()
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def test_an_unpicklable_result(self):
        """What cannot be stored is the error of its own job."""
        def trouble(service):
            effect(service, lambda: None)
        self.trouble = trouble
        self.assertEqual(
            [COMPLETED, ERROR, COMPLETED], self.run_group(1, 'trouble', 2))
        self.assertEqual([1, 2], self.effects)

    def test_a_claim_that_was_lost(self):
        """A job that somebody has cancelled meanwhile is left alone."""
        ids = [self.service.add('test.work', input) for input in (1, 2, 3)]
        transaction.commit()
        claims = engine(self.service).claim(A, 100, NOW)
        with self.elsewhere() as other:
            other.cancel(ids[1])
        transaction.commit()
        with logged('lovely.remotetask') as lines:
            group.run_group(
                self.db, ['tasks'], claims, transaction.commit)
        self.assertEqual([1, 3], self.effects)
        self.assertEqual(
            [COMPLETED, CANCELLED, COMPLETED],
            [self.job(jobid).status for jobid in ids])
        self.assertIn('left alone', '\n'.join(lines))

    def test_a_task_that_is_gone(self):
        """A job that cannot be run is held, the others run."""
        self.task(self.calls, 'test.gone')
        gone = self.service.add('test.gone')
        zope.component.getGlobalSiteManager().unregisterUtility(
            provided=ITask, name='test.gone')
        self.assertEqual(
            [COMPLETED, HELD], self.run_group(1, others=[gone]))
