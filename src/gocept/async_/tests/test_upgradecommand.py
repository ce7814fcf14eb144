"""The command async-upgrade, and what it tells."""

import contextlib
import importlib
import importlib.metadata
import io
import tempfile
import unittest
import unittest.mock

import transaction
import zc.lockfile
import ZODB
import zope.interface
from ZODB.broken import Broken
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageFormatError
from ZODB.POSException import ReadOnlyError
from ZODB.POSException import StorageError
from zope.configuration.exceptions import ConfigurationError
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from gocept.async_.declaration import ServiceDeclaration
from gocept.async_.interfaces import IServiceDeclaration
from gocept.async_.tests.python2data import forget
from gocept.async_.tests.python2data import make_importable
from gocept.async_.tests.python2data import unpack
from gocept.async_.upgrade import command
from gocept.async_.upgrade import examination
from gocept.async_.upgrade import report
from gocept.async_.upgrade import search
from gocept.async_.upgrade import slices
from gocept.async_.upgrade import zope34
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.running.server import server
from lovely.remotetask.storage import fate
from lovely.remotetask.storage.upgrade import SCHEMA
from lovely.remotetask.storage.upgrade import upgrade_some
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.test_reference import Unstorable
from lovely.remotetask.tests.test_upgrade import COMPLETED_0
from lovely.remotetask.tests.test_upgrade import QUEUED_0
from lovely.remotetask.tests.test_upgrade import MissingCase


class IOwnService(ITaskService):
    """The application has derived it."""


class Configuration:
    """Stands for one whose ZCML is executed, and whose database is open."""

    def __init__(self, db, failure=None):
        self.db = db
        self.failure = failure
        self.read_only = None

    def configure(self):
        if isinstance(self.failure, ConfigurationError):
            raise self.failure

    def connect(self, read_only):
        self.read_only = read_only
        if self.failure is not None:
            raise self.failure
        return self.db


class ShopCase(MissingCase):
    """The application of the database can be imported."""

    def setUp(self):
        make_importable()
        self.addCleanup(forget)
        super().setUp()


class CommandCase(ShopCase):
    """Calls the command for the database of the test."""

    def run_command(self, *args, failure=None, closing=None):
        """Return the exit code, and what was printed: output and errors.

        failure, closing -- what is raised when the database is opened, and
            when it is closed.
        """
        self.configuration = Configuration(self.db, failure)
        out, err = io.StringIO(), io.StringIO()
        # What is closed has another attribute `close`.
        close = unittest.mock.patch.object(
            ZODB.DB, 'close', side_effect=closing)
        with close, unittest.mock.patch.object(
                command.zopeconf, 'read', lambda path: self.configuration), \
                contextlib.redirect_stdout(out), \
                contextlib.redirect_stderr(err), \
                self.assertRaises(SystemExit) as ended:
            command.main(['zope.conf', *args])
        transaction.begin()
        return ended.exception.code, out.getvalue(), err.getvalue()


class CommandTest(CommandCase):

    def schemas(self):
        transaction.begin()
        return {found.service.schema for found in search.services(self.root)}

    def test_check(self):
        """It tells of each service, and changes nothing."""
        before = self.db.lastTransaction()
        code, out, err = self.run_command('--check')
        self.assertEqual(1, code)
        self.assertEqual('', err)
        self.assertIs(True, self.configuration.read_only)
        self.assertEqual(before, self.db.lastTransaction())
        self.assertEqual({0}, self.schemas())
        for text in (
                '/: service "mail" (not declared) is to be brought up to date',
                '  jobs: 10 queued, 4 cancelled, 5 error, 3 completed, '
                '3 delayed, 13 cronjob, 1 start later\n',
                '/intranet/hr: service "mail" (not declared) is to be',
                '/shop: service "events" (not declared) is to be',
                '  lost, 4 jobs (615573384, 615573385, 615573386, '
                '615573387): It waited in no queue',
                '  pattern changed, job 2052029011: ', 'minute=60',
                '  held, job 8624287: ', 'dayOfWeek=7',
                '  repaired, 2 jobs (250629175, 250629176): '):
            with self.subTest(text):
                self.assertIn(text, out)

    def test_upgrade(self):
        """All services are up to date afterwards; it tells the same."""
        _, checked, _ = self.run_command('--check')
        code, out, _ = self.run_command()
        self.assertEqual(1, code)
        self.assertIs(False, self.configuration.read_only)
        self.assertEqual({SCHEMA}, self.schemas())
        self.assertEqual(
            sorted(checked.replace('is to be brought up', 'is up').split(
                '\n')), sorted(out.split('\n')))

    def test_again(self):
        """It writes nothing, and tells what somebody has to look at."""
        self.run_command()
        before = self.db.lastTransaction()
        code, out, _ = self.run_command()
        self.assertEqual(before, self.db.lastTransaction())
        self.assertEqual(1, code)
        self.assertIn('  held, job 8624287: ', out)
        self.assertNotIn('lost, ', out)
        self.assertNotIn('repaired, ', out)

    def test_all_is_well(self):
        """Where nothing needs attention, it exits with 0."""
        for name in ('mail', 'stuck'):
            self.root.getSiteManager().unregisterUtility(
                self.services[name], ITaskService, name)
        transaction.commit()
        with unittest.mock.patch.object(examination, '_begin'):
            code, out, _ = self.run_command('--check')
        self.assertEqual(0, code, out)

    def test_declared(self):
        """It is told which services are."""
        self.register(ServiceDeclaration('mail', '', 1, 1.0, True, '/'),
                      IServiceDeclaration, 'mail')
        _, out, _ = self.run_command('--check')
        self.assertIn('/: service "mail" is to be', out)
        self.assertIn('/intranet/hr: service "mail" (not declared)', out)

    def test_progress(self):
        """It is told on standard error how far it is."""
        with unittest.mock.patch.object(slices, 'SLICE', 10), \
                unittest.mock.patch(
                    'lovely.remotetask.storage.telling.INTERVAL', 0):
            _, _, err = self.run_command()
        self.assertIn('default/mail: 10 of 39 jobs are brought up to date\n',
                      err)

    def test_refused(self):
        """It says what to do, and exits with 2."""
        for failure, text in (
                (FileStorageFormatError('Data.fs'), 'zodbupdate --convert'),
                (zc.lockfile.LockError('in use by 5'), 'stop the application'),
                (ConfigurationError('no such directive'), 'correct it'),
                (StorageError('no server'), 'cannot be opened'),
                (FileNotFoundError('Data.fs'), 'cannot be opened')):
            with self.subTest(text):
                code, out, err = self.run_command(failure=failure)
                self.assertEqual((2, ''), (code, out))
                self.assertIn(text, err)
                self.assertEqual(1, err.count('\n'))

    def test_read_only(self):
        """A database that cannot be written to, unlike what was asked for."""
        with unittest.mock.patch.object(
                slices, 'upgrade_some', side_effect=ReadOnlyError()):
            code, _, err = self.run_command()
        self.assertEqual(2, code)
        self.assertIn('look only: --check', err)

    def test_stopped(self):
        """Somebody stops it: it says that it can be given again."""
        with unittest.mock.patch.object(
                slices, 'upgrade_some', side_effect=KeyboardInterrupt):
            code, _, err = self.run_command()
        self.assertEqual(2, code)
        self.assertIn('the same command goes on', err)
        self.assertEqual(1, err.count('\n'))

    def test_nobody_reads(self):
        """What it writes to is closed."""
        with unittest.mock.patch.object(
                report, 'lines', side_effect=BrokenPipeError), \
                unittest.mock.patch.object(command, 'give_output_up') as end:
            code, _, err = self.run_command()
        self.assertEqual(2, code)
        self.assertIn('the same command goes on', err)
        end.assert_called_once_with()

    def test_no_root(self):
        with unittest.mock.patch.object(
                type(server()), 'root', return_value=None):
            code, _, err = self.run_command()
        self.assertEqual(2, code)
        self.assertIn('no root folder', err)

    def test_service_that_fails(self):
        """The others are brought up to date, and it exits with 2."""
        def fails(service, *args):
            if service.__name__ == 'stuck':
                raise RuntimeError('no idea')
            return upgrade_some(service, *args)
        with unittest.mock.patch.object(slices, 'upgrade_some', fails):
            code, out, _ = self.run_command()
        self.assertEqual(2, code)
        self.assertIn('"stuck" cannot be brought up to date: '
                      'builtins.RuntimeError: no idea', out)
        self.assertEqual({0, SCHEMA}, self.schemas())

    def test_usage(self):
        for args in ([], ['zope.conf', '--wrong'], ['a', 'b']):
            with self.subTest(args), contextlib.redirect_stderr(
                    io.StringIO()), self.assertRaises(SystemExit) as ended:
                command.main(args)
            self.assertEqual(2, ended.exception.code)


class UnreadableTest(CommandCase):

    def test_job(self):
        """It is told before and after, and counts as held."""
        self.lose(self.stored_jobs()[COMPLETED_0])
        for args in (['--check'], [], []):
            code, out, _ = self.run_command(*args)
            self.assertEqual(1, code)
            self.assertIn('13 cronjob, 1 start later, 1 held', out)
            self.assertEqual(1, out.count(
                f'  unreadable, job {COMPLETED_0}: '))

    def test_job_that_cannot_be_stored(self):
        """So it is with one that refuses to be written."""
        job = self.stored_jobs()[COMPLETED_0]
        job._p_activate()
        vars(job)['output'] = Unstorable()
        job._p_changed = True
        transaction.commit()
        with unittest.mock.patch.object(Unstorable, 'closed', True):
            for args in (['--check'], [], []):
                code, out, _ = self.run_command(*args)
                self.assertEqual(1, code)
                self.assertIn('13 cronjob, 1 start later, 1 held', out)
                self.assertIn(
                    f'  unreadable, job {COMPLETED_0}: It cannot be read: it '
                    f'could not be stored again; install' if args else
                    'no longer', out)

    def test_books(self):
        """So are the records in which jobs were kept."""
        self.service._p_activate()
        self.lose(vars(self.service)['_queue'], self.stored_jobs())
        _, out, _ = self.run_command('--check')
        self.assertIn('  unreadable: _queue cannot be read', out)

    def test_only_in_a_queue(self):
        """A job is told that was not among the others; all tell the same."""
        del self.stored_jobs()[QUEUED_0]
        transaction.commit()
        for args in (['--check'], []):
            _, out, _ = self.run_command(*args)
            self.assertIn('  jobs: 10 queued, 4 cancelled', out)
            self.assertIn(f'  found, job {QUEUED_0}: It waited in a', out)

    def test_told_afterwards(self):
        """What could not be read is told by the command that goes on, too."""
        self.service._p_activate()
        self.lose(vars(self.service)['_queue'])
        for args in (['--check'], []):
            _, out, _ = self.run_command(*args)
            self.assertIn('  unreadable: _queue cannot be read', out)

    def test_in_the_middle(self):
        """What is done is counted, and the rest is told."""
        upgrade_some(self.service, 10)
        transaction.commit()
        _, out, _ = self.run_command('--check')
        self.assertIn('10 queued, 4 cancelled, 5 error, 3 completed, '
                      '3 delayed, 13 cronjob, 1 start later\n', out)


class SearchTest(ShopCase):

    def found(self):
        return [(found.site, found.name)
                for found in search.services(self.root)]

    def test_all(self):
        """They are found in all sites."""
        self.assertEqual(
            [('/', ''), ('/', 'events'), ('/', 'mail'), ('/', 'overdue'),
             ('/', 'stuck'), ('/intranet', 'events'),
             ('/intranet/hr', 'mail'), ('/shop', 'events')],
            sorted(self.found()))

    def test_site_in_a_folder(self):
        """However deep it lies."""
        folder = self.root
        for name in 'abc':
            folder[name] = folder = Folder()
        folder.setSiteManager(LocalSiteManager(folder))
        folder['tasks'] = service = TaskService()
        folder.getSiteManager().registerUtility(
            service, ITaskService, name='deep')
        transaction.commit()
        self.assertIn(('/a/b/c', 'deep'), self.found())

    def test_registered_twice(self):
        """It is told once."""
        self.root['shop'].getSiteManager().registerUtility(
            self.service, ITaskService, name='again')
        transaction.commit()
        self.assertNotIn(('/shop', 'again'), self.found())
        self.assertIn(('/', 'mail'), self.found())

    def test_derived_interface(self):
        """A service that is registered for one is found by ITaskService."""
        sites = self.root.getSiteManager()
        sites.unregisterUtility(self.service, ITaskService, 'mail')
        zope.interface.alsoProvides(self.service, IOwnService)
        sites.registerUtility(self.service, IOwnService, 'mail')
        transaction.commit()
        self.assertIn(('/', 'mail'), self.found())

    def test_interface_that_is_gone(self):
        """What is registered for it is no service; the others are found."""
        sites = self.root.getSiteManager()
        registered = [unittest.mock.Mock(provided=Broken),
                      *sites.registeredUtilities()]
        with unittest.mock.patch.object(
                sites, 'registeredUtilities', return_value=registered):
            self.assertIn(('/', 'mail'), self.found())

    def test_site_that_cannot_be_read(self):
        """It is told, and all others are found."""
        self.lose(self.root['shop'].getSiteManager())
        found = {found.site: found for found in search.services(self.root)}
        self.assertIn('POSKeyError', found['/shop'].trouble)
        self.assertIn('/intranet/hr', found)

    def test_content_that_cannot_be_read(self):
        """Nobody knows whether it is a site."""
        self.lose(self.root['shop'])
        found = {found.site: found for found in search.services(self.root)}
        self.assertIn('POSKeyError', found['/shop'].trouble)
        self.assertIn('/intranet/hr', found)

    def test_other_class(self):
        """A service of a class of one's own is left alone."""
        other = self.root['other'] = Folder()
        self.root.getSiteManager().registerUtility(
            other, ITaskService, name='other')
        transaction.commit()
        found, = [each for each in search.services(self.root)
                  if each.trouble is not None]
        self.assertIn('"other" is of the class zope.site.folder.Folder',
                      found.trouble)

    def test_database_that_fails(self):
        """It is not taken for content that cannot be read."""
        with unittest.mock.patch.object(
                type(server()), 'services', side_effect=StorageError()), \
                self.assertRaises(StorageError):
            self.found()


class ReportTest(unittest.TestCase):

    def lines(self, **seen):
        found = search.Found('/shop', 'events', object())
        examined = examination.Examination(**{
            'is_old': False, 'counts': {}, 'findings': [], 'unfit': {},
            'trouble': [], **seen})
        return (list(report.lines(found, examined, True))[1:],
                report.needs_attention(examined))

    def test_nothing(self):
        self.assertEqual((['  jobs: none'], False), self.lines())

    def test_harmless(self):
        """What is as it should be now needs nobody."""
        findings = [fate.Finding(1, kind, 'Text.')
                    for kind in (fate.LOST, fate.REPAIRED)]
        lines, needs_attention = self.lines(findings=findings)
        self.assertEqual(3, len(lines))
        self.assertFalse(needs_attention)

    def test_attention(self):
        for seen in ({'unfit': {'Gone.': [1]}}, {'trouble': ['Gone.']},
                     *({'findings': [fate.Finding(1, kind, 'Gone.')]}
                       for kind in (fate.HOLDS, fate.PATTERN,
                                    fate.UNREADABLE))):
            with self.subTest(str(seen)):
                lines, needs_attention = self.lines(**seen)
                self.assertIn('Gone.', lines[-1])
                self.assertTrue(needs_attention)

    def test_many_jobs(self):
        """Not all ids of one line are shown."""
        lines, _ = self.lines(unfit={'Gone.': list(range(9))})
        self.assertEqual(
            '  cannot be run, 9 jobs (0, 1, 2, 3, 4, ...): Gone.', lines[-1])

    def test_one_line(self):
        """Whatever a message has in it."""
        lines, _ = self.lines(unfit={'Gone\nand \x1b[2Jmore': [1]})
        self.assertNotIn('\n', lines[-1])
        self.assertNotIn('\x1b', lines[-1])


class Zope34Test(DatabaseCase):
    """A database of Zope 3.4 and lovely.remotetask 0.3."""

    def setUp(self):
        super(DatabaseCase, self).setUp()
        make_importable()
        self.addCleanup(forget)
        self.db = ZODB.DB(FileStorage(str(unpack(
            'kgs34-py3', self.enterContext(tempfile.TemporaryDirectory())))))
        self.addCleanup(self.db.close)
        self.addCleanup(transaction.abort)
        self.root = server().root(self.db.open())

    def test_services(self):
        """They are found, and brought up to date."""
        found = {
            (each.site, each.name): {
                status: number for status, number
                in each.service.counts().items() if number}
            for each in search.services(self.root)}
        self.assertEqual({
            ('/', 'TaskService'): {'completed': 3, 'error': 3, 'queued': 4},
            ('/', 'mail'): {'cancelled': 1, 'cronjob': 1, 'delayed': 1,
                            'queued': 4, 'start later': 1},
            ('/shop', 'events'): {'queued': 4}}, found)

    def test_errors(self):
        """What Python 2 had as text is text."""
        errors = {job.error for job in self.root['TaskService'].jobs.values()
                  if job.status == 'error'}
        self.assertEqual({'Fehler \xe4'}, errors)


class RulesTest(unittest.TestCase):

    def test_entry_point(self):
        """zodbupdate finds the rules."""
        found, = importlib.metadata.entry_points(
            group='zodbupdate', name='gocept.async')
        self.assertIs(zope34.renames, found.load())

    def test_rules(self):
        """Names of then and of today."""
        self.assertEqual(32, len(zope34.renames))
        self.assertEqual(
            'zope.site.folder Folder',
            zope34.renames['zope.app.folder.folder Folder'])
        self.assertEqual('zope.intid IntIds',
                         zope34.renames['zope.app.intid IntIds'])

    def test_targets(self):
        """Where the packages are installed, the names are there."""
        there = 0
        for target in zope34.renames.values():
            module, name = target.split()
            try:
                found = importlib.import_module(module)
            except ImportError:
                continue
            with self.subTest(target):
                self.assertTrue(hasattr(found, name))
                there += 1
        self.assertGreater(there, 15)
