"""Cron jobs that are declared: one of each, as it is declared."""

import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

import transaction
import ZEO
import zope.component
import zope.event
import zope.principalregistry.principalregistry
from ZODB.POSException import ReadOnlyError
from zope.app.publication.zopepublication import ZopePublication
from zope.processlifetime import DatabaseOpenedWithRoot
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from gocept.async_ import declaration
from gocept.async_.crons import upkeep
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import configuration
from gocept.async_.tests import interpreter
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.test_crondirective import SERVICE
from gocept.async_.tests.test_crondirective import cron
from lovely.remotetask import named
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import IOperations
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.job import Run


LOG = upkeep.__name__

DAY = 24 * 3600
LONG = 30


class UpkeepCase(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        # The directives of the last start are forgotten by it.
        self.application = unittest.TestCase()
        self.addCleanup(self.application.doCleanups)

    def start(self, *directives):
        """The application starts, with some directives."""
        self.application.doCleanups()
        transaction.commit()
        configuration.execute(
            self.application, SERVICE + ''.join(directives))
        zope.event.notify(DatabaseOpenedWithRoot(self.layer.db))
        transaction.begin()

    def started(self, *directives, level='INFO'):
        """The same.  Return what the log tells of cron jobs."""
        with self.assertLogs(LOG, level) as logged:
            self.start(*directives)
        return [record.getMessage() for record in logged.records]

    def cron_job(self):
        job, = self.service.cron_jobs()
        return job

    def claim(self, worker='host:1:thread:a'):
        """A worker claims the job, when it is due."""
        engine = IJobExecution(self.service)
        engine.claim(worker, 1)
        transaction.commit()
        due = self.cron_job().due
        claim, = engine.claim(worker, 1, due + 1)
        transaction.commit()
        return claim


class OnceTest(UpkeepCase):

    def test_added(self):
        """It is run as the principal, in the site of the service."""
        said, = self.started(cron(hour='2', principal='zope.user'))
        self.assertEqual(
            'async:cron "nightly" of service "events": added', said)
        job = self.cron_job()
        self.assertEqual(
            ('nightly', (2,), 'zope.user', f'{sample.__name__}.context'),
            (job.name, job.hour, job.principal, job.function))
        process(after=DAY)
        (principal, site), = sample.calls
        self.assertEqual('zope.user', principal.id)
        self.assertEqual(self.root._p_oid, site._p_oid)
        self.assertEqual(CRONJOB, self.cron_job().status)

    def test_without_a_principal(self):
        """It is run as nobody, whoever it is that starts the application."""
        login('zope.user')
        self.start(cron())
        logout()
        self.assertIsNone(self.cron_job().principal)
        process(after=DAY)
        (principal, _), = sample.calls
        self.assertIsNone(principal.id)

    def test_nothing_is_written_by_other_starts(self):
        for directives in ((cron(), cron('other')), ()):
            self.start(*directives)
            before = self.layer.db.lastTransaction()
            jobs = [job.id for job in self.jobs()]
            for _ in range(3):
                with self.assertNoLogs(LOG):
                    self.start(*directives)
            self.assertEqual(before, self.layer.db.lastTransaction())
            self.assertEqual(jobs, [job.id for job in self.jobs()])

    def test_service_that_is_new(self):
        """It is created at the same start."""
        self.root.getSiteManager().unregisterUtility(
            self.service, ITaskService, 'events')
        self.start(cron())
        service = zope.component.getUtility(
            ITaskService, 'events', context=self.root)
        self.assertEqual(1, len(service.cron_jobs()))

    def test_two_transaction_managers(self):
        """Both have looked, and found none, before the first one commits."""
        configuration.execute(self, SERVICE + cron() + cron('other'))
        barrier = threading.Barrier(2)
        waited = threading.local()
        put = named.put

        def meet(*args):
            found = put(*args)
            if not hasattr(waited, 'once'):
                waited.once = True
                barrier.wait(LONG)
            return found
        found, = declaration.declarations()
        with unittest.mock.patch.object(named, 'put', meet):
            threads = [threading.Thread(
                target=upkeep.look_after, args=(self.layer.db, found))
                for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG)
        transaction.begin()
        self.assertEqual(['nightly', 'other'], sorted(
            job.name for job in self.service.cron_jobs()))
        self.assertEqual(2, len(self.jobs()))


class ChangeTest(UpkeepCase):

    def test_changed(self):
        """Another pattern, function and principal; it is the same job."""
        self.start(cron(hour='2'))
        jobid = self.cron_job().id
        for directive, expected in (
                (cron(hour='3'), ((3,), None, 'context')),
                (cron(hour='3', timezone='Europe/Berlin'),
                 ((3,), None, 'context')),
                (cron(hour='3', principal='zope.user'),
                 ((3,), 'zope.user', 'context')),
                (cron(function=f'{sample.__name__}.nested', hour='4'),
                 ((4,), None, 'nested'))):
            said, = self.started(directive)
            self.assertIn('changed', said)
            job = self.cron_job()
            self.assertEqual(expected, (
                job.hour, job.principal, job.function.rpartition('.')[2]))
            self.assertEqual(jobid, job.id)
        process(after=DAY)
        self.assertEqual(('before', 'after'),
                         (sample.calls[0], sample.calls[-1]))

    def test_next_time(self):
        """It counts from the change."""
        self.start(cron(expression='0 2 29 2 *'))
        process(after=1)
        self.start(cron(minute='*/5'))
        process(after=600)
        self.assertEqual(2, len(sample.calls))

    def test_gone(self):
        said = self.started(cron(), cron('other'))
        self.assertEqual(2, len(said))
        said, = self.started(cron('other'))
        self.assertIn('"nightly" of service "events": removed', said)
        self.assertEqual('other', self.cron_job().name)
        process(after=DAY)
        self.assertEqual(1, len(sample.calls))

    def test_gone_with_others(self):
        """Nothing else is touched that the service has."""
        kept = self.service.addCronJob(sample.record, hour=2)
        self.start(cron())
        self.start()
        self.assertEqual(kept, self.cron_job().id)

    def test_gone_while_it_runs(self):
        """The run comes to its end, and the next start removes it."""
        self.start(cron())
        claim = self.claim()
        self.assertEqual(PROCESSING, self.cron_job().status)
        said, = self.started()
        self.assertIn('paused', said)
        with self.assertNoLogs(LOG):
            self.start()
        IJobExecution(self.service).settle(claim.worker, [claim.job])
        transaction.commit()
        process(after=3 * DAY)
        self.assertEqual([], sample.calls)
        said, = self.started()
        self.assertIn('removed', said)
        self.assertEqual([], self.service.cron_jobs())

    def test_gone_while_it_runs_as_requeued(self):
        """Nor does one go on that was cancelled, and requeued, before."""
        for there_again in False, True:
            with self.subTest(there_again=there_again):
                self.start(cron())
                jobid = self.cron_job().id
                for change in self.service.cancel, self.service.requeue:
                    self.assertTrue(change(jobid))
                    transaction.commit()
                claim, = IJobExecution(self.service).claim(
                    'host:1:thread:a', 1)
                transaction.commit()
                self.start()
                if there_again:
                    self.start(cron())
                self.end(claim)
                self.assertEqual(
                    (CRONJOB, not there_again),
                    (self.cron_job().status, self.cron_job().paused))
                self.start()
                self.assertEqual([], self.service.cron_jobs())

    def end(self, claim):
        """Store that a run has ended well, and settle its claim."""
        engine = IJobExecution(self.service)
        engine.complete(engine.claimed(claim), Run(claim, claim.time), None)
        engine.settle(claim.worker, [claim.job])
        transaction.commit()

    def test_there_again_while_it_runs(self):
        """As if it had never been gone; also one that was paused."""
        for paused in (False, True):
            self.start(cron())
            claim = self.claim()
            if paused:
                self.service.pause_job(claim.job)
            self.start()
            self.start(cron())
            IJobExecution(self.service).settle(claim.worker, [claim.job])
            transaction.commit()
            self.assertEqual((claim.job, paused), (
                self.cron_job().id, self.cron_job().paused))
            self.service.remove(claim.job)
            self.start()

    def test_pattern_is_changed_in_zcml_alone(self):
        self.start(cron())
        with self.assertRaisesRegex(ValueError, "declared as 'nightly'"):
            IOperations(self.service).update_cron(
                self.cron_job().id, hour=(3,))
        self.assertEqual((2,), self.cron_job().hour)


class PauseTest(UpkeepCase):

    def test_outlasts_starts_and_changes(self):
        self.start(cron())
        jobid = self.cron_job().id
        IOperations(self.service).pause_job(jobid)
        for directive in (cron(), cron(hour='3'),
                          cron(hour='3', principal='zope.user')):
            self.start(directive)
            self.assertEqual((True, jobid), (
                self.cron_job().paused, self.cron_job().id))
            process(after=2 * DAY)
        self.assertEqual([], sample.calls)
        IOperations(self.service).resume_job(jobid)
        process(after=DAY)
        self.assertEqual(1, len(sample.calls))

    def test_run_now(self):
        """A copy, which is none of that name."""
        self.start(cron(principal='zope.user'))
        IOperations(self.service).run_now(self.cron_job().id)
        process()
        self.assertEqual('zope.user', sample.calls[0][0].id)
        self.start(cron(principal='zope.user'))
        self.assertEqual(1, len(self.service.cron_jobs()))

    def test_cancelled_or_removed(self):
        """By hand; it is declared, so the next start has it again."""
        for act in self.service.cancel, self.service.remove:
            self.start(cron())
            act(self.cron_job().id)
            transaction.commit()
            process(after=DAY)
            self.assertEqual([], sample.calls)
            self.start(cron())
            self.assertEqual(1, len(self.service.cron_jobs()))
        self.assertEqual(0, self.service.counts()[CANCELLED])

    def test_copied(self):
        """A site that was copied has its own, whatever is held of the copy.
        """
        self.start(cron())
        store = self.service.store
        store.copied_at = self.cron_job()._p_serial
        old = self.cron_job().id
        transaction.commit()
        self.start(cron())
        self.assertNotEqual(old, self.cron_job().id)
        process(after=DAY)
        self.assertEqual(1, len(sample.calls))

    def test_put_aside(self):
        """One whose record cannot be read is replaced."""
        self.start(cron())
        job = self.cron_job()
        vars(job)['status'] = 'nonsense'
        job._p_changed = True
        transaction.commit()
        self.start(cron())
        process(after=DAY)
        self.assertEqual(1, len(sample.calls))


class PrincipalTest(UpkeepCase):

    def test_not_there(self):
        """It is held, and told; as soon as there is one it runs."""
        directive = cron(principal='shop.reporter')
        said, = self.started(directive, level='ERROR')
        for expected in ('"nightly" of service "events" is held',
                         "'shop.reporter' no longer exists", 'Add the'):
            self.assertIn(expected, said)
        job = self.job()
        self.assertEqual((HELD, 'nightly'), (job.status, job.name))
        self.assertIn('shop.reporter', job.error)
        before = self.layer.db.lastTransaction()
        # It is told at each start, and stays one job.
        self.started(directive, level='ERROR')
        self.assertEqual(before, self.layer.db.lastTransaction())
        process(after=2 * DAY)
        self.assertEqual([], sample.calls)
        self.define('shop.reporter')
        self.start(directive)
        self.assertEqual(1, len(self.jobs()))
        process(after=DAY)
        self.assertEqual('shop.reporter', sample.calls[0][0].id)

    def define(self, name):
        registry = zope.principalregistry.principalregistry.principalRegistry
        registry.definePrincipal(name, name, login=name)
        for attribute in ('_PrincipalRegistry__principalsById',
                          '_PrincipalRegistry__principalsByLogin'):
            tree = getattr(registry, attribute)
            self.addClassCleanup(tree.pop, name, None)

    def test_gone_later(self):
        """One that was there, and was paused."""
        for name in ('gone.later', 'paused.before'):
            with self.subTest(name), unittest.mock.patch.dict(
                    vars(zope.principalregistry.principalregistry
                         .principalRegistry)):
                self.start(cron(principal='zope.user'))
                jobid = self.cron_job().id
                if name == 'paused.before':
                    self.service.pause_job(jobid)
                self.start(cron(principal=name))
                self.assertEqual(HELD, self.service.getStatus(jobid))
                process(after=2 * DAY)
                self.start(cron(principal='zope.user'))
                self.assertEqual(name == 'paused.before',
                                 self.cron_job().paused)
                self.start()

    def test_never_the_system_user(self):
        said, = self.started(cron(
            principal='zope.security.management.system_user'), level='ERROR')
        self.assertIn('is held', said)
        self.assertEqual(HELD, self.job().status)


class TroubleTest(UpkeepCase):

    def test_read_only(self):
        with unittest.mock.patch.object(
                upkeep, 'in_private_transaction', side_effect=ReadOnlyError):
            said, = self.started(cron(), level='ERROR')
        self.assertIn('read-only', said)

    def test_others_start(self):
        """What goes wrong with one service is none of the others'."""
        with unittest.mock.patch.object(
                named, 'put', side_effect=RuntimeError('broken')), \
                self.assertLogs(level='ERROR') as logged:
            self.start(cron())
        self.assertIn('its cron jobs are not looked after',
                      logged.records[0].getMessage())

    def test_no_site(self):
        configuration.execute(
            self, '<async:service name="lost" site="/no/such" />'
            + cron(service='lost'))
        with self.assertLogs('gocept.async_', 'ERROR') as logged:
            zope.event.notify(DatabaseOpenedWithRoot(self.layer.db))
        self.assertEqual(1, len(logged.records))


class ProcessesTest(unittest.TestCase):
    """Several processes that start at once, on one ZEO server."""

    maxDiff = None

    # It starts processes.
    level = 2

    # Other modules have functions whose services nobody declares there.
    CODE = '''
import logging
logging.disable(logging.WARNING)
import sys
import zope.component.event
import zope.event
import ZEO
from zope.configuration import xmlconfig
from zope.processlifetime import DatabaseOpenedWithRoot
xmlconfig.string("""
<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:async="http://namespaces.gocept.com/async">
  <include package="gocept.async_" />
  %s
</configure>""")
db = ZEO.DB((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
sys.stdin.readline()
zope.event.notify(DatabaseOpenedWithRoot(db))
db.close()
''' % (SERVICE + ''.join(cron(f'job-{number}') for number in range(5)))

    def test_at_the_same_moment(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        address, stop = ZEO.server(path=str(pathlib.Path(folder) / 'Data.fs'))
        self.addCleanup(stop)
        db = ZEO.DB(address)
        self.addCleanup(db.close)
        with db.transaction() as connection:
            root = rootFolder()
            root.setSiteManager(LocalSiteManager(root))
            connection.root()[ZopePublication.root_name] = root
        for _ in range(2):
            self.run_processes(address, 3)
            with db.transaction() as connection:
                root = connection.root()[ZopePublication.root_name]
                service = root.getSiteManager()['default']['events']
                self.assertEqual(
                    [f'job-{number}' for number in range(5)],
                    sorted(job.name for job in service.jobs.values()))

    def run_processes(self, address, number):
        processes = [
            subprocess.Popen(
                [sys.executable, '-c', self.CODE, *map(str, address)],
                env=interpreter.environment(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE)
            for _ in range(number)]
        for each in processes:
            self.addCleanup(each.__exit__, None, None, None)
            self.addCleanup(each.kill)
            self.assertEqual('ready\n', each.stdout.readline())
        for each in processes:
            each.stdin.write('go\n')
            each.stdin.flush()
        for each in processes:
            _, errors = each.communicate(timeout=LONG)
            self.assertEqual((0, ''), (each.returncode, errors[-3000:]))
