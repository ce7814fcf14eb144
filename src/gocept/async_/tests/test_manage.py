"""The command async-jobs: what it shows, does, refuses and answers."""

import argparse
import contextlib
import datetime
import io
import json
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import transaction
import zope.component
import zope.component.hooks
from ZODB.POSException import POSKeyError
from ZODB.POSException import StorageError
from zope.site.folder import Folder

from gocept.async_.manage import arguments
from gocept.async_.manage import command
from gocept.async_.manage import desk
from gocept.async_.manage import filters
from gocept.async_.manage import progress
from gocept.async_.manage import running
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.tests import configuration
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.test_held import SHOP
from gocept.async_.tests.test_held import HeldTestCase
from gocept.async_.tests.test_held import ship
from gocept.async_.tests.workerstage import CONFIGURATION
from gocept.async_.tests.workerstage import FileStorage
from gocept.async_.worker.application import Refused
from lovely.remotetask import named
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.interfaces import IOperations
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.execution import UNSTORED
from lovely.remotetask.storage import aside
from lovely.remotetask.task import EchoTask
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.tests.fixture import ServiceTask


def offer(test, name, func):
    """Register a task for a test; it is called with service and input."""
    manager = zope.component.getGlobalSiteManager()
    manager.registerUtility(ServiceTask(func), ITask, name)
    test.addCleanup(manager.unregisterUtility, provided=ITask, name=name)


class CommandCase(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        configuration.declare(self, 'events', site='/')
        self.db = self.jobs_db
        self.enterContext(unittest.mock.patch.object(
            desk, 'opened', self.opened))

    @contextlib.contextmanager
    def opened(self, path):
        yield desk.Desk(self.db, path)

    def run_command(self, *args, code=0):
        """Run it in this process.  Return what it writes."""
        transaction.commit()
        out, self.complaints = io.StringIO(), io.StringIO()
        with (contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(self.complaints),
              self.assertRaises(SystemExit) as caught):
            command.main(['zope.conf', *map(str, args)])
        self.assertEqual(code, caught.exception.code, (
            out.getvalue(), self.complaints.getvalue()))
        transaction.begin()
        return out.getvalue()

    def json(self, *args, code=0):
        return json.loads(self.run_command(*args, '--json', code=code))

    def failed(self, count=1):
        """Add calls that fail.  Return their ids."""
        for _ in range(count):
            sample.add(1, 'x')
        self.service.process()
        transaction.commit()
        return [job.id for job in self.service.find(status=ERROR).jobs]


class SeeingTest(CommandCase):

    def test_counts(self):
        self.failed(2)
        sample.add(1)
        text = self.run_command('counts')
        self.assertRegex(text, r'service +queued')
        self.assertRegex(text, r'(?m)^events +1 ')
        found = self.json('counts')['services']['events']
        self.assertEqual((1, 2, False), (
            found['counts']['queued'], found['counts']['error'],
            found['paused']))
        self.assertLess(found['oldest_waiting_age'], 60)

    def test_list(self):
        failed = self.failed(3)
        sample.add(1)
        name = self.service.jobs[failed[0]].errorClass
        for args in (('--status', 'error'), ('--error-class', name),
                     ('--function', f'{sample.__name__}.add', '--limit', '3',
                      '--status', 'error'), ('--since', '1h', '--status',
                                             'error')):
            found = self.json('list', *args)
            self.assertEqual([str(jobid) for jobid in failed],
                             [job['id'] for job in found['jobs']])
        self.assertEqual([], self.json('list', '--until', '1h')['jobs'])
        found = self.json('list', '--limit', '2')
        self.assertEqual((2, False), (len(found['jobs']), found['complete']))
        text = self.run_command('list', '--limit', '2')
        self.assertEqual(3, len(text.splitlines()))
        self.assertIn('there may be more', self.complaints.getvalue())
        self.assertEqual('', self.run_command('list', '--principal', 'me'))

    def test_show(self):
        """With arguments and traceback; of any job."""
        jobid, = self.failed()
        text = self.run_command('show', jobid)
        for expected in (f'{sample.__name__}.add', "1, 'x'", 'TypeError',
                         'Traceback (most recent'):
            self.assertIn(expected, text)
        found = self.json('show', jobid)
        self.assertEqual(['1', "'x'"], found['arguments'])
        self.assertEqual(1, len(found['attempts_made']))
        for jobid in [self.service.add('echo', {'a': 1}),
                      self.service.add('echo'),
                      self.service.addCronJob('echo', minute=(5,))]:
            self.run_command('show', jobid)
        self.assertIn('minute=5', self.run_command('show', jobid))

    def test_unknown(self):
        for args in (('show', 42), ('run', 42), ('cancel', 42)):
            self.run_command(*args, code=1)
            self.assertIn('no job 42', self.complaints.getvalue())
        for name in ('pause', 'resume', 'run-now'):
            for text in (42, 'nightly', '9' * 5000, '²'):
                self.run_command(name, text, code=1)
                self.assertIn('no cron job', self.complaints.getvalue())

    def test_crons_and_workers(self):
        jobid = self.service.addCronJob('echo', hour=(2, 14), minute=(30,))
        self.service.claimNextJob()
        self.assertIn('minute=30 hour=2,14', self.run_command('crons'))
        found, = self.json('crons')['crons']
        self.assertEqual((str(jobid), False, 'UTC'), (
            found['id'], found['paused'], found['timezone']))
        self.service.add('echo')
        self.service.claimNextJob()
        found, = self.json('workers')['workers']
        self.assertEqual(1, found['claimed'])
        self.assertIn(found['processor'], self.run_command('workers'))
        worker, = self.service.store.workers.values()
        worker.heartbeat.time = 'broken'
        found, = self.json('workers')['workers']
        self.assertIsNone(found['silent'])

    def test_hostile_names(self):
        """No name or message writes what a terminal obeys."""
        def fail(input):
            raise ValueError('\x1b]0;mine\x07\n\ud800')
        manager = zope.component.getGlobalSiteManager()
        manager.registerUtility(SimpleTask(fail), ITask, 'test.\x1bfail')
        self.addCleanup(
            manager.unregisterUtility, provided=ITask, name='test.\x1bfail')
        jobid = self.service.add('test.\x1bfail', '\x1b[2J')
        self.service.process()
        for args in (('list',), ('show', jobid), ('list', '--json'),
                     ('show', jobid, '--json'), ('run', jobid)):
            text = self.run_command(*args, code=int(args[0] == 'run'))
            self.assertFalse({'\x1b', '\x07', '\ud800'} & set(text), args)

    def test_nothing_is_written(self):
        """Whoever looks changes nothing; nor does a dry run."""
        jobid, = self.failed()
        cron = self.service.addCronJob('echo', minute=(5,))
        transaction.commit()
        before = self.db.lastTransaction()
        for args in (('counts',), ('list',), ('show', jobid), ('crons',),
                     ('workers',), ('check',),
                     ('requeue', jobid, '--dry-run'),
                     ('cancel', '--all', '--dry-run'),
                     ('remove', '--status', 'error', '--dry-run'),
                     ('run', jobid, '--dry-run'), ('pause', '--dry-run'),
                     ('pause', cron, '--dry-run'), ('resume', '--dry-run')):
            self.run_command(*args)
            self.assertEqual(before, self.db.lastTransaction(), args)


class ActingTest(CommandCase):

    def done(self):
        return [(action.what, action.number)
                for action in IOperations(self.service).actions()]

    def test_by_id(self):
        """Each, in its order; refused is what cannot be done."""
        first, second = self.failed(2)
        text = self.run_command('requeue', first, second)
        self.assertEqual('2 requeued\n', text)
        self.run_command('requeue', first, code=1)
        self.assertIn('not of job', self.complaints.getvalue())
        self.assertEqual('1 cancelled\n', self.run_command('cancel', first))
        self.assertEqual({'done': 1, 'would_do': None, 'skipped': 1},
                         self.json('remove', first, 42, code=1))
        self.assertEqual([second], list(self.service.jobs))
        self.assertIn('async-jobs', IOperations(
            self.service).actions()[0].who)

    def test_by_filter(self):
        failed = self.failed(4)
        sample.add(1)
        args = '--status', 'error'
        self.assertEqual('4 would be requeued\n', self.run_command(
            'requeue', *args, '--dry-run'))
        self.assertEqual('4 requeued\n', self.run_command('requeue', *args))
        self.assertEqual(
            {QUEUED}, {self.service.getStatus(jobid) for jobid in failed})
        self.assertEqual([('requeue_some', 4)], self.done())
        self.assertEqual('5 cancelled\n', self.run_command('cancel', '--all'))
        self.assertEqual(5, self.service.counts()[CANCELLED])
        self.assertEqual(
            '5 would be removed\n',
            self.run_command('remove', '--all', '--dry-run'))
        self.assertEqual('5 removed\n', self.run_command('remove', '--all'))
        self.assertEqual([], list(self.service.jobs))
        self.assertEqual('0 removed\n', self.run_command('remove', '--all'))

    def test_which(self):
        """It is said which jobs are meant, and said once."""
        self.failed()
        for args in ((), ('--all', '--status', 'error'), (1, '--all'),
                     (1, '--function', 'f')):
            for what in ('requeue', 'cancel', 'remove'):
                self.run_command(what, *args, code=2)
                self.assertIn('either ids', self.complaints.getvalue())
        self.assertEqual([], self.done())

    def test_blank(self):
        """The variable of a script was empty: that does not mean all jobs."""
        self.failed()
        for option in '--function', '--task', '--principal', '--error-class':
            for blank in '', ' ', '\t\n':
                for what in 'requeue', 'cancel', 'remove', 'list':
                    self.run_command(what, option, blank, code=2)
                    self.assertIn('is blank', self.complaints.getvalue())
        self.assertEqual([], self.done())
        self.assertEqual(1, self.service.counts()[ERROR])

    def test_bad_options(self):
        for args in (('list', '--status', 'asleep'), ('show', 'x'),
                     ('list', '--since', 'yesterday'), ('show', -1),
                     ('list', '--limit', '0'), ('explode',), ()):
            self.run_command(*args, code=2)

    def test_run_now(self):
        """By id; the schedule stays, and the copy is run at once."""
        cron = self.service.addCronJob(sample.record, ('x',), hour=2)
        other = self.service.add('echo', startLater=True)
        self.assertIn('would add', self.run_command(
            'run-now', cron, '--dry-run'))
        self.assertEqual(2, len(self.jobs()))
        self.assertIn(f'a copy of job {cron}',
                      self.run_command('run-now', cron))
        found = self.json('run-now', cron)
        self.assertEqual(
            QUEUED, self.service.getStatus(int(found['job'])))
        self.service.process()
        self.assertEqual([(('x',), {})] * 2, sample.calls)
        self.run_command('run-now', other, code=1)
        self.assertIn('is no cron job', self.complaints.getvalue())
        # Its first digits are those of an id.
        self.run_command('run-now', f'{cron:019}5', code=1)
        self.assertIn('no cron job', self.complaints.getvalue())

    def test_by_name(self):
        """Of a cron job that is declared."""
        jobid = self.service.addCronJob('echo', hour=2)
        named.put(self.service, 'nightly', named.Wanted(
            'echo', None, {'hour': 3}, ()))
        declared = named.job_of(self.service, 'nightly').id
        self.assertEqual({'paused': True}, self.json('pause', 'nightly'))
        self.assertEqual([False, True], [
            self.service.jobs[each].paused for each in (jobid, declared)])
        self.assertEqual({'paused': False}, self.json('resume', 'nightly'))
        self.run_command('run-now', 'nightly')
        self.assertEqual(1, self.service.counts()[QUEUED])
        self.assertRegex(self.run_command('crons'), 'nightly +echo')
        self.assertEqual(
            {None, 'nightly'},
            {each['name'] for each in self.json('crons')['crons']})

    def test_pause(self):
        """A service, and one cron job."""
        cron = self.service.addCronJob('echo', minute=(5,))
        other = self.service.add('echo')
        self.assertIn('is paused', self.run_command('pause'))
        self.assertTrue(self.service.paused)
        self.assertIn('is paused', self.run_command('pause'))
        self.assertIn('not paused', self.run_command('resume'))
        self.assertFalse(self.service.paused)
        self.assertEqual({'paused': True}, self.json('pause', cron))
        self.assertTrue(self.service.jobs[cron].paused)
        self.run_command('resume', cron)
        self.assertFalse(self.service.jobs[cron].paused)
        self.run_command('pause', other, code=1)
        self.assertIn('no cron job', self.complaints.getvalue())

    def test_run(self):
        """Here and now; the end is stored, whatever it is."""
        sample.record(1, a=2)
        jobid = self.job().id
        self.assertEqual(
            {'job': str(jobid), 'status': QUEUED},
            self.json('run', jobid, '--dry-run'))
        text = self.run_command('run', jobid)
        self.assertIn('is completed', text)
        self.assertEqual([((1,), {'a': 2})], sample.calls)
        self.assertEqual('completed', self.service.getStatus(jobid))
        self.run_command('run', jobid, code=1)
        self.assertIn('is completed', self.complaints.getvalue())

    def test_run_what_has_failed(self):
        """It is requeued and run at once; its traceback is shown."""
        jobid, = self.failed()
        text = self.run_command('run', jobid, code=1)
        self.assertIn('Traceback', text)
        self.assertIn('TypeError', text)
        self.assertEqual(ERROR, self.service.getStatus(jobid))
        found = self.json('run', jobid, code=1)
        self.assertEqual('builtins.TypeError', found['error_class'])
        self.assertEqual(3, len(self.service.jobs[jobid].history))

    def test_run_that_meets_a_conflict(self):
        """Nothing of what it did is stored, and that is said."""
        sample.record(1)
        transaction.commit()
        jobid = self.job().id

        def meet():
            with self.db.transaction() as connection:
                connection.get(self.service._p_oid).jobs[jobid].priority = 9
        with unittest.mock.patch.object(sample.called, 'set', meet):
            self.run_command('run', jobid, code=1)
        self.assertIn('run it again', self.complaints.getvalue())
        self.assertEqual(QUEUED, self.service.getStatus(jobid))
        self.assertEqual(1, self.service.jobs[jobid].attempts)

    def test_services(self):
        """Where several are declared, it is said which."""
        configuration.declare(self, 'mails', site='/')
        for args in (('list',), ('list', '--service', 'other')):
            self.run_command(*args, code=3)
            self.assertIn('--service: events, mails',
                          self.complaints.getvalue())
        self.run_command('list', '--service', 'events')
        self.run_command('list', '--service', 'mails', code=3)
        self.assertIn('not there', self.complaints.getvalue())

    def test_no_database(self):
        """What keeps it from working is said in one line."""
        for error in (Refused('no such file'), StorageError('is away')):
            with unittest.mock.patch.object(desk, 'opened', side_effect=error):
                self.run_command('counts', code=3)
            text = self.complaints.getvalue()
            self.assertEqual(1, len(text.splitlines()), text)
            self.assertIn(str(error), text)

    def test_closed_error(self):
        """The command was started without standard error."""
        for args in (('list',), ('requeue', '--status', 'error'), ('check',),
                     ('show', 42)):
            out = io.StringIO()
            transaction.commit()
            with (self.subTest(args), contextlib.redirect_stdout(out),
                  unittest.mock.patch.object(sys, 'stderr', None),
                  self.assertRaises(SystemExit) as caught):
                command.main(['zope.conf', *map(str, args)])
            self.assertEqual(int(args[0] == 'show'), caught.exception.code)
            self.assertNotIn('async-jobs', out.getvalue())

    def test_interrupted(self):
        with unittest.mock.patch.object(
                desk, 'opened', side_effect=KeyboardInterrupt):
            self.run_command('counts', code=1)
        self.assertIn('goes on', self.complaints.getvalue())


class RunTest(CommandCase):
    """A job that is run by the command is run as a worker runs it."""

    def offer(self, func):
        """Let a function be the task of a new job.  Return the id of that."""
        offer(self, 'test.task', func)
        return self.service.add('test.task')

    def test_commits(self):
        """That is refused, nothing of it is stored, and it is an attempt."""
        def half(service, input):
            service.__parent__['half'] = Folder()
            transaction.commit()
        jobid = self.offer(half)
        text = self.run_command('run', jobid, code=1)
        self.assertIn('must not commit', text)
        self.assertNotIn('half', self.root)
        self.assertEqual(ERROR, self.service.getStatus(jobid))
        self.assertEqual(1, len(self.service.jobs[jobid].history))

    def test_is_claimed(self):
        """Nobody else takes it meanwhile; then there is no worker left."""
        seen = []

        def look(service, input):
            with self.db.transaction() as connection:
                other = connection.get(service._p_oid)
                worker, = IManagement(other).workers()
                seen.append((other.getStatus(jobid), list(worker['claims']),
                             other.claimNextJob()))
            if len(seen) == 1:
                raise ValueError('once')
        jobid = self.offer(look)
        for code in 1, 0:
            self.run_command('run', jobid, code=code)
        for status, claims, next in seen:
            self.assertEqual(PROCESSING, status)
            self.assertEqual([jobid], [claimed for claimed, _ in claims])
            self.assertIsNone(next)
        self.assertEqual([], IManagement(self.service).workers())

    def test_before_its_time(self):
        """Also while the service is paused; its place is not left behind."""
        offer(self, 'test.task', lambda service, input: None)
        later = self.service.add('test.task', delay=3600)
        cron = self.service.addCronJob('test.task', hour=2)
        # Both are in the schedule.
        self.service.process()
        self.service.paused = True
        due = self.service.jobs[cron].due
        self.assertIn('is completed', self.run_command('run', later))
        self.assertIn('is cronjob', self.run_command('run', cron))
        self.assertEqual(due, self.service.jobs[cron].due)
        self.assertEqual([(due, cron)], list(self.service.store.schedule))

    def test_after_a_start(self):
        """What was to be started later is started."""
        jobid = self.service.add('echo', startLater=True)
        self.assertIn('is completed', self.run_command('run', jobid))

    def test_not_kept(self):
        """The result of a job that is removed when it has ended."""
        configuration.declare(
            self, 'events', site='/', keep_result=False)
        jobid = self.service.add('echo')
        self.assertIn('is completed', self.run_command('run', jobid))
        self.assertNotIn(jobid, self.service.jobs)

    def test_is_interrupted(self):
        """By the keyboard: the traceback tells where, and is stored."""
        def wait(service, input):
            raise KeyboardInterrupt
        jobid = self.offer(wait)
        self.assertIn('in wait', self.run_command('run', jobid, code=1))
        self.assertEqual(ERROR, self.service.getStatus(jobid))

    def test_is_taken(self):
        """Nothing is run that somebody else has taken at the last moment."""
        jobid = self.offer(lambda service, input: self.fail('called'))
        with unittest.mock.patch.object(running, '_claim', return_value=[]):
            self.run_command('run', jobid, code=1)
        self.assertIn('was not run', self.complaints.getvalue())

    def test_without_an_end(self):
        """Only what was begun is an attempt; the job is handed back."""
        for end, attempts in (NOT_BEGUN, 0), (INTERRUPTED, 1), (UNSTORED, 1):
            jobid = self.service.add('echo')
            with (self.subTest(end), unittest.mock.patch.object(
                    running.Membership, 'run', return_value=end)):
                self.run_command('run', jobid, code=1)
                job = self.service.jobs[jobid]
                self.assertNotEqual(PROCESSING, job.status)
                self.assertEqual(attempts, job.attempts)

    def test_cron_job_without_an_end(self):
        """It waits for its next time, but nothing went well."""
        jobid = self.service.addCronJob('echo', minute=(0,))
        with unittest.mock.patch.object(
                running.Membership, 'run', return_value=UNSTORED):
            self.run_command('run', jobid, code=1)

    def test_is_readable_again(self):
        """It is said how the job has ended, not what it was before."""
        jobid = self.service.add('echo', 'x')
        aside.put(self.service.store, jobid, None, outcome_of(int, 'broken'),
                  1.0)
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.assertIn('is completed', self.run_command('run', jobid))
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))


class PlaceTest(CommandCase):
    """Jobs are run, and checked, where their service is."""

    def local(self, task):
        """Add a job for a task that is registered in the site alone."""
        self.root.getSiteManager().registerUtility(task, ITask, 'test.local')
        jobid = self.service.add('test.local')
        transaction.commit()
        # A process of its own is in no site.
        zope.component.hooks.setSite(None)
        return jobid

    def test_run(self):
        self.assertIn(
            'is completed', self.run_command('run', self.local(EchoTask())))

    def test_check(self):
        self.local(EchoTask())
        self.assertEqual('', self.run_command('check'))

    def test_call(self):
        """A task adds a job, by a decorated function."""
        offer(self, 'test.task',
              lambda service, input: sample.record.enqueue('x'))
        jobid = self.service.add('test.task')
        transaction.commit()
        zope.component.hooks.setSite(None)
        self.assertIn('is completed', self.run_command('run', jobid))
        self.assertEqual([], sample.calls)
        self.assertEqual(1, self.service.counts()[QUEUED])


class CheckTest(HeldTestCase):

    opened = CommandCase.opened
    run_command = CommandCase.run_command
    json = CommandCase.json

    def setUp(self):
        super().setUp()
        configuration.declare(self, 'events', site='/')
        self.db = self.jobs_db
        self.enterContext(unittest.mock.patch.object(
            desk, 'opened', self.opened))

    def test_all_is_well(self):
        ship('order')
        sample.record(1)
        self.assertEqual('', self.run_command('check'))

    def test_gone(self):
        """A function that is gone, and one that takes other arguments."""
        sample.record(1)
        ship('order')
        ship('order', 2)
        first, second, third = sorted(job.id for job in self.jobs())
        transaction.commit()
        self.service.jobs[second].input._f = 'shop.gone'
        self.service.jobs[third].input.kwargs = {'order': 3}
        transaction.commit()
        text = self.run_command('check', code=1)
        self.assertEqual(2, len(text.splitlines()))
        self.assertIn('shop.gone', text)
        found = self.json('check', code=1)['problems']
        self.assertCountEqual(
            [str(second), str(third)], [each['id'] for each in found])

    def test_of_no_task(self):
        self.service.add('echo')
        job = self.job()
        job.task = 'test.gone'
        self.assertIn(
            "'test.gone' is not registered",
            self.run_command('check', code=1))

    def test_input_of_a_task(self):
        """The class of a plain object is gone."""
        Order = self.make('Order')
        self.service.add('echo', [Order()])
        self.restart()
        self.assertIn(f'{SHOP}.Order', self.run_command('check', code=1))

    def test_lost(self):
        """The record of a call is lost."""
        ship('order')
        transaction.commit()
        oid = self.job().input._p_oid
        self.restart()
        storage = type(self.service._p_jar._storage)
        load = storage.load

        def lose(self, asked, *args):
            if asked == oid:
                raise POSKeyError(asked)
            return load(self, asked, *args)
        with unittest.mock.patch.object(storage, 'load', lose):
            self.assertIn('POSKeyError', self.run_command('check', code=1))


class TimeTest(unittest.TestCase):

    def test_given(self):
        for text, expected in (
                ('2026-11-26', 1795651200.0),
                ('2026-11-26T14:03', 1795701780.0),
                ('2026-11-26T14:03+01:00', 1795698180.0),
                ('1970-01-01T00:00:00Z', 0.0)):
            self.assertEqual(expected, filters.time_of(text))

    def test_ago(self):
        with unittest.mock.patch.object(
                filters.time, 'time', return_value=1000000.0):
            for text, expected in (('90s', 90), ('15m', 900), ('2h', 7200),
                                   ('3d', 259200)):
                self.assertEqual(1000000.0 - expected, filters.time_of(text))

    def test_refused(self):
        for text in ('', 'yesterday', '2h30m', '-1h', '1w', '2026-13-01',
                     '0001-01-01T00:00+23:59', '999999999d'):
            with self.subTest(text), self.assertRaises(
                    argparse.ArgumentTypeError):
                filters.time_of(text)


class Terminal(io.StringIO):

    def isatty(self):
        return True


class ProgressTest(unittest.TestCase):

    def test_with_rich(self):
        with progress.shown('removed', 10, Terminal()) as tell:
            tell(5)
            tell(10)

    def test_without(self):
        """Lines now and then, where there is no rich."""
        stream = Terminal()
        with unittest.mock.patch.dict(sys.modules, {'rich.console': None}), \
                unittest.mock.patch.object(progress, 'PAUSE', 0.0), \
                progress.shown('removed', None, stream) as tell:
            tell(5)
        self.assertEqual('removed: 5 jobs ...\n', stream.getvalue())

    def test_nobody_watches(self):
        stream = io.StringIO()
        with progress.shown('removed', None, stream) as tell:
            tell(5)
        self.assertEqual('', stream.getvalue())


class ArgumentsTest(FunctionalTestCase):

    def test_results(self):
        """Plain ones, and of objects the class."""
        for input, expected in (
                (None, None), (5, '5'), ('x', "'x'"), ([1, None], '[1, None]'),
                ({'a': datetime.timedelta(1)},
                 "{'a': <datetime.timedelta>}")):
            jobid = self.service.add('echo', input)
            transaction.commit()
            self.service.process()
            transaction.commit()
            self.root._p_jar.cacheMinimize()
            job = self.service.jobs[jobid]
            with self.subTest(input=input):
                self.assertEqual(expected, arguments.result_of(job))
                self.assertEqual([] if expected is None else [expected],
                                 arguments.arguments_of(job))

    def test_found_without_them(self):
        """Calls are found by function and principal; nothing is loaded."""
        self.root['content'] = content = sample.Content()
        transaction.commit()
        for login_as in ('zope.user', 'zope.mgr', None):
            if login_as is not None:
                login(login_as)
            sample.record(content)
            logout()
        transaction.commit()
        name = f'{sample.__name__}.record'
        self.root._p_jar.cacheMinimize()
        for selection, expected in (
                ({'principal': 'zope.mgr'}, ['zope.mgr']),
                ({'principal': 'zope.mgr', 'function': name}, ['zope.mgr']),
                ({'principal': 'zope.mgr', 'function': 'other'}, []),
                ({'function': name}, [None, 'zope.mgr', 'zope.user'])):
            with self.subTest(**selection):
                jobs = self.service.find(**selection).jobs
                self.assertEqual(expected, [job.principal for job in jobs])
                self.assertEqual(
                    {name} if expected else set(),
                    {job.function for job in jobs})
                for job in jobs:
                    self.assertIn(f'queued {name}', repr(job))
        self.assertIsNone(content._p_changed)
        for job in self.jobs():
            self.assertIsNone(job.input._p_changed)

    def test_nothing_is_activated(self):
        """Of objects the class is shown, of persistent ones not even that."""
        self.root['content'] = content = sample.Content()
        transaction.commit()
        sample.record(content, [1, 'x' * 1000], word={'a': None})
        transaction.commit()
        self.root._p_jar.cacheMinimize()
        found = arguments.arguments_of(self.job())
        self.assertEqual('<persistent object>', found[0])
        self.assertLess(len(found[1]), 300)
        self.assertEqual("word={'a': None}", found[2])
        self.assertIsNone(content._p_changed)
        self.assertIsNone(self.job().input._p_changed)


class ProcessTest(unittest.TestCase):
    """The command itself, on a FileStorage that nobody has open."""

    def test_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'zope.conf')
            site = Path(__file__).with_name('worker.zcml')
            path.write_text(CONFIGURATION.format(
                # What is logged there is no part of the answer.
                site=site, log='STDOUT',
                storage=FileStorage(folder).section))

            def run(*args):
                return subprocess.run(
                    [sys.executable, '-m', 'gocept.async_.manage.command',
                     str(path), *args], text=True, capture_output=True,
                    timeout=120, env=environment())
            done = run('counts', '--json')
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn('created in', done.stderr)
            self.assertEqual({'events', 'mails'},
                             set(json.loads(done.stdout)['services']))
            path.write_text('nonsense')
            done = run('counts')
            self.assertEqual(3, done.returncode)
            self.assertRegex(done.stderr, '^async-jobs: .*zope.conf')
