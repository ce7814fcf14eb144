"""Tests of gocept.async_.zcml and gocept.async_.declaration."""

import contextlib
import math
import pathlib
import tempfile
import threading
import unittest
import unittest.mock

import transaction
import zope.component
import zope.interface
import zope.schema
import zope.site
import zope.site.folder
from zope.configuration.config import ConfigurationConflictError
from zope.configuration.exceptions import ConfigurationError
from zope.interface.verify import verifyObject

from gocept.async_.declaration import ServiceDeclaration
from gocept.async_.declaration import declarations
from gocept.async_.interfaces import IRenamedFunction
from gocept.async_.interfaces import IServiceDeclaration
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import CLOSE
from gocept.async_.tests.configuration import OPEN
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.configuration import execute
from gocept.async_.tests.configuration import read
from gocept.async_.tests.configuration import utilities
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service
from gocept.async_.tests.sample import Content
from gocept.async_.zcml import IRenamedDirective
from gocept.async_.zcml import IServiceDirective
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.policy import DAY
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.processor import service_path


@zope.interface.implementer(IProcessorFactory)
class CustomFactory:
    """Somebody else's way to run jobs."""

    runsJobs = True

    def __call__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        return SimpleProcessor(db, servicePath, waitTime)

    def check(self, maxThreads):
        if maxThreads > 3:
            raise ValueError('three threads are enough')


custom_factory = CustomFactory()

CUSTOM = f'''
<utility component="{__name__}.custom_factory" name="custom" />
'''


class SchemaTest(unittest.TestCase):
    """The fields of the directive."""

    def test_every_field_is_explained(self):
        """Each has a title and a sentence."""
        for name, field in zope.schema.getFields(IServiceDirective).items():
            with self.subTest(name):
                self.assertTrue(field.title)
                self.assertTrue(field.description.endswith('.'))

    def test_these_are_the_fields(self):
        """The published ones."""
        self.assertEqual(
            ['name', 'processor', 'threads', 'wait_time', 'autostart',
             'site', 'database', 'attempts', 'retry_wait', 'retry_on',
             'retention', 'error_retention', 'keep_result', 'commit_every',
             'max_size', 'log_messages'],
            zope.schema.getFieldNamesInOrder(IServiceDirective))


class DirectiveTest(unittest.TestCase):
    """The async:service directive."""

    layer = FUNCTIONAL_LAYER

    def test_defaults(self):
        """Only the name is needed."""
        found = declare(self, 'events')
        self.assertEqual('events', found.name)
        self.assertEqual('simple', found.processor)
        self.assertEqual(
            {'waitTime': 1.0, 'maxThreads': 1}, found.processorArguments)
        self.assertIs(True, found.autostart)
        self.assertEqual('/', found.site)
        self.assertEqual('', found.database)
        self.assertEqual(Policy(
            attempts=3, retry_wait=1.0, retry_on=(), retention=7 * DAY,
            error_retention=30 * DAY, keep_result=True, commit_every=1,
            max_size=10_000_000, log_messages=True), found.policy)

    def test_settings(self):
        """Every attribute reaches the declaration."""
        found = declare(
            self, 'events', processor='multi', threads=3, wait_time=0.5,
            autostart='no', site='/a/b', database='jobs')
        self.assertEqual('multi', found.processor)
        self.assertEqual(
            {'waitTime': 0.5, 'maxThreads': 3}, found.processorArguments)
        self.assertIs(False, found.autostart)
        self.assertEqual('/a/b', found.site)
        self.assertEqual('jobs', found.database)

    def test_settings_of_the_policy(self):
        """They reach it, with types that can be calculated with."""
        found = declare(
            self, 'events', attempts=5, retry_wait='0.5',
            retry_on='OSError\n  zope.interface.Invalid', retention='3600',
            error_retention='7200', keep_result='no', commit_every=50,
            max_size=1000, log_messages='no')
        self.assertEqual(Policy(
            attempts=5, retry_wait=0.5,
            retry_on=('builtins.OSError', 'zope.interface.exceptions.Invalid'),
            retention=3600.0, error_retention=7200.0, keep_result=False,
            commit_every=50, max_size=1000, log_messages=False),
            found.policy)

    def test_kept_for_ever(self):
        """There is a word for that."""
        found = declare(
            self, 'events', retention='inf', error_retention='inf')
        self.assertEqual(
            (math.inf, math.inf),
            (found.policy.retention, found.policy.error_retention))

    def test_booleans_as_everywhere_in_zcml(self):
        """yes, true and no, false."""
        for text, value in (('yes', True), ('True', True),
                            ('false', False), ('no', False)):
            with self.subTest(text):
                self.assertIs(
                    value, declare(self, text, autostart=text).autostart)

    def test_name_may_be_empty(self):
        """That is the service of @function()."""
        self.assertEqual('', declare(self, '').name)

    def test_handler_only_registers(self):
        """Reading registers nothing; executing nothing but the utility."""
        before = utilities()
        threads = threading.enumerate()
        stored = FUNCTIONAL_LAYER.db.lastTransaction()
        read('<async:service name="events" />')
        self.assertEqual(before, utilities())
        declaration = declare(self, 'events')
        self.assertEqual(
            [(IServiceDeclaration, 'events', declaration)],
            [found for found in utilities() if found not in before])
        self.assertEqual(threads, threading.enumerate())
        self.assertEqual(stored, FUNCTIONAL_LAYER.db.lastTransaction())


class WrongTest(unittest.TestCase):
    """Directives that make no sense."""

    layer = FUNCTIONAL_LAYER

    def assertRefused(self, directives, *messages):
        with self.assertRaises(ConfigurationError) as raised:
            execute(self, directives)
        for message in messages:
            self.assertIn(message, str(raised.exception))
        # Where it stands: line and column.
        self.assertRegex(str(raised.exception), r'File "<string>", line \d+')

    def test_name_is_missing(self):
        """A service without a name attribute is probably a mistake."""
        self.assertRefused('<async:service processor="multi" />', 'name')

    def test_names_that_cannot_be_used(self):
        """They could not be part of a path, or be written by anybody."""
        for name, said in (
                *((name, name) for name in (
                    'a/b', '/', '+x', '@x', '++etc++site')),
                ('.', 'Constraint'), ('..', 'Constraint'), (' ', 'Constraint'),
                (' events ', 'Constraint'), ('a&#10;b', 'Constraint'),
                ('\u202ea', 'Constraint')):
            with self.subTest(name):
                self.assertRefused(f'<async:service name="{name}" />', said)

    def test_site_is_current(self):
        """It would be stored in the site, and nobody would find it."""
        site = zope.site.folder.Folder()
        site.setSiteManager(zope.site.LocalSiteManager(site))
        for directive in ('service name="events"', 'celery broker="redis:"',
                          'renamed old="a.b" new="c.d"'):
            machine = read(f'<async:{directive} />')
            with self.subTest(directive), zope.component.hooks.site(site), \
                    self.assertRaisesRegex(
                        ConfigurationError, 'a site is current'):
                machine.execute_actions()
        self.assertFalse(list(site.getSiteManager().registeredUtilities()))

    def test_unknown_attribute(self):
        """A wrong spelling is not ignored."""
        self.assertRefused(
            '<async:service name="events" thread="2" />', 'thread')

    def test_no_number(self):
        """threads is a whole number of at least one, and of some hundreds."""
        for threads in ('0', '-1', '1.5', 'many', '', '1001'):
            with self.subTest(threads):
                self.assertRefused(
                    f'<async:service name="events" processor="multi" '
                    f'threads="{threads}" />', 'threads')

    def test_no_time(self):
        """wait_time is more than nothing: it must not turn in circles."""
        for wait_time in ('0', '-1', 'long', 'inf', '1e300'):
            with self.subTest(wait_time):
                self.assertRefused(
                    f'<async:service name="events" '
                    f'wait_time="{wait_time}" />', 'wait_time')

    def test_numbers_of_the_policy(self):
        """At least one attempt, no wait into the past, and so on."""
        for name, values in (
                ('attempts', ('0', '-1', '1.5', 'often')),
                ('retry_wait', ('-1', 'nan', 'inf', 'long')),
                ('wait_time', ('nan', 'inf')),
                ('retention', ('-1', 'nan', 'long')),
                ('error_retention', ('-0.1', 'nan', '')),
                ('keep_result', ('perhaps',)),
                ('commit_every', ('0', '-1', '1001', '2.5')),
                ('max_size', ('0', '-1', '1.5', '10 MB', 'inf')),
                ('log_messages', ('perhaps', '2'))):
            for value in values:
                with self.subTest(f'{name}="{value}"'):
                    self.assertRefused(
                        f'<async:service name="events" {name}="{value}" />',
                        name)
        self.assertEqual([], declarations())

    def test_exceptions_that_do_not_exist(self):
        """The error says which one, of which service."""
        for name, reason in (
                ('ValueErrors', 'no attribute'),
                ('no_such_module.Error', 'No module'),
                ('zope.interface.NoSuchError', 'NoSuchError')):
            with self.subTest(name):
                self.assertRefused(
                    f'<async:service name="events" '
                    f'retry_on="OSError {name}" />',
                    'async:service "events"', 'retry_on',
                    f'no exception "{name}"', reason)

    def test_exceptions_that_are_none(self):
        """Something else has that name."""
        for name in ('len', 'int', 'os.path', 'zope.interface.Interface'):
            with self.subTest(name):
                self.assertRefused(
                    f'<async:service name="events" retry_on="{name}" />',
                    f'"{name}" is no exception')

    def test_exceptions_that_are_no_names(self):
        """The field refuses them, before anything is imported."""
        self.assertRefused(
            '<async:service name="events" retry_on="os.system()" />',
            'retry_on')

    def test_unknown_processor(self):
        """The error names the service and the processors there are."""
        self.assertRefused(
            '<async:service name="events" processor="threaded" />',
            'async:service "events"', '"threaded"', 'choose one of',
            'multi, simple')

    def test_threads_of_the_simple_processor(self):
        """It has one; the error says what to do."""
        self.assertRefused(
            '<async:service name="events" threads="2" />',
            'async:service "events"', 'not 2', 'use the processor "multi"')

    def test_threads_of_another_processor(self):
        """Each factory has its own limits."""
        self.assertRefused(
            '<async:service name="events" processor="custom" threads="4" />'
            + CUSTOM, 'async:service "events"', 'three threads are enough')


class FilesTest(unittest.TestCase):
    """Directives in several files."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, directives):
        path = self.folder / name
        path.write_text(OPEN + directives + CLOSE)
        return path

    def test_two_services_of_one_name_conflict(self):
        """The error names both files, with their lines."""
        one = self.write('one.zcml', '<async:service name="events" />')
        two = self.write('two.zcml', '\n<async:service name="events" />')
        line = OPEN.count('\n') + 1
        with self.assertRaises(ConfigurationConflictError) as raised:
            execute(self, f'<include file="{one}" /><include file="{two}" />')
        message = str(raised.exception)
        self.assertIn('gocept.async:service', message)
        self.assertIn(f'File "{one}", line {line}.', message)
        self.assertIn(f'File "{two}", line {line + 1}.', message)
        self.assertEqual([], declarations())

    def test_services_of_different_names_do_not(self):
        """Each package may declare its own."""
        one = self.write('one.zcml', '<async:service name="one" />')
        two = self.write('two.zcml', '<async:service name="two" />')
        execute(self, f'<include file="{one}" /><include file="{two}" />')
        self.assertEqual(
            ['one', 'two'], [found.name for found in declarations()])

    def test_one_file_included_twice(self):
        """It is read once, as all ZCML."""
        one = self.write('one.zcml', '<async:service name="one" />')
        execute(self, f'<include file="{one}" />' * 2)
        self.assertEqual(['one'], [found.name for found in declarations()])

    def test_overrides(self):
        """An application may change the service of a package."""
        package = self.write(
            'package.zcml',
            '<async:service name="events" processor="multi" threads="2" />')
        overrides = self.write(
            'overrides.zcml',
            '<async:service name="events" processor="multi" threads="7" />')
        execute(self, f'<include file="{package}" />'
                      f'<includeOverrides file="{overrides}" />')
        found, = declarations()
        self.assertEqual(7, found.processorArguments['maxThreads'])

    def test_overridden_service_is_not_checked(self):
        """That is how to get rid of a processor one does not have."""
        package = self.write(
            'package.zcml',
            '<async:service name="events" processor="celery" threads="2" />')
        overrides = self.write(
            'overrides.zcml', '<async:service name="events" />')
        execute(self, f'<include file="{package}" />'
                      f'<includeOverrides file="{overrides}" />')
        found, = declarations()
        self.assertEqual('simple', found.processor)

    def test_exceptions_of_an_overridden_service_are_not_checked(self):
        """Their package need not be installed."""
        package = self.write(
            'package.zcml',
            '<async:service name="events" retry_on="no_such_module.Error" />')
        overrides = self.write(
            'overrides.zcml',
            '<async:service name="events" retry_on="OSError" />')
        execute(self, f'<include file="{package}" />'
                      f'<includeOverrides file="{overrides}" />')
        found, = declarations()
        self.assertEqual(('builtins.OSError',), found.policy.retry_on)

    def test_overridden_new_name_is_not_checked(self):
        """What a package says of its functions may be corrected."""
        package = self.write('package.zcml', renamed('app.old', 'app.gone'))
        overrides = self.write(
            'overrides.zcml', renamed('app.old', f'{SAMPLE}.record'))
        execute(self, f'<include file="{package}" />'
                      f'<includeOverrides file="{overrides}" />')
        self.assertEqual(
            f'{SAMPLE}.record',
            zope.component.getUtility(IRenamedFunction, 'app.old').name)

    def test_processor_registered_after_the_directive(self):
        """The order of ZCML does not matter."""
        execute(self, '<async:service name="events" processor="custom" '
                      'threads="3" />' + CUSTOM)
        found, = declarations()
        self.assertIs(custom_factory, found.processorFactory)


SAMPLE = sample.__name__


def renamed(old, new):
    return f'<async:renamed old="{old}" new="{new}" />'


class RenamedDirectiveTest(unittest.TestCase):
    """The async:renamed directive."""

    layer = FUNCTIONAL_LAYER

    def assertRefused(self, directives, *messages):
        with self.assertRaises(ConfigurationError) as raised:
            execute(self, directives)
        for message in messages:
            self.assertIn(message, str(raised.exception))
        self.assertRegex(str(raised.exception), r'File "<string>", line \d+')

    def test_every_field_is_explained(self):
        """Each has a title and a sentence."""
        for name, field in zope.schema.getFields(IRenamedDirective).items():
            with self.subTest(name):
                self.assertTrue(field.title)
                self.assertTrue(field.description.endswith('.'))

    def test_registers(self):
        """A utility under the old name."""
        execute(self, renamed('app.old', f'{SAMPLE}.record'))
        found = zope.component.getUtility(IRenamedFunction, 'app.old')
        verifyObject(IRenamedFunction, found)
        self.assertEqual(f'{SAMPLE}.record', found.name)

    def test_two_of_one_old_name_conflict(self):
        """Nobody could tell which one is meant."""
        with self.assertRaisesRegex(
                ConfigurationConflictError, 'gocept.async:renamed.*app.old'):
            execute(self, renamed('app.old', f'{SAMPLE}.record')
                    + renamed('app.old', f'{SAMPLE}.add'))

    def test_two_of_one_new_name_do_not(self):
        """Two functions may have become one."""
        execute(self, renamed('app.one', f'{SAMPLE}.record')
                + renamed('app.two', f'{SAMPLE}.record'))

    def test_loops(self):
        """Whoever follows the names would never arrive."""
        self.assertRefused(
            renamed('app.a', 'app.b') + renamed('app.b', 'app.a'),
            'async:renamed', 'app.a, app.b', 'renamed to one another')
        self.assertRefused(
            renamed('app.a', 'app.a'), 'app.a', 'renamed to one another')

    def test_new_function_that_does_not_exist(self):
        """A typing error is found at start-up, not when jobs are held."""
        for name in (f'{SAMPLE}.gone', 'no_such_module.function'):
            with self.subTest(name):
                self.assertRefused(
                    renamed('app.old', name),
                    'async:renamed old="app.old"', name)

    def test_new_function_that_is_not_decorated(self):
        """It would never be called."""
        self.assertRefused(
            renamed('app.old', f'{SAMPLE}.undecorated'),
            'async:renamed old="app.old"', 'not an asynchronous function')

    def test_old_name_that_another_function_has(self):
        """Its calls would run the wrong function."""
        self.assertRefused(
            renamed(f'{SAMPLE}.add', f'{SAMPLE}.record'),
            f'async:renamed old="{SAMPLE}.add"', 'still is',
            f'would run "{SAMPLE}.record"')

    def test_old_name_that_the_same_function_has(self):
        """A module may import what has moved, for its callers."""
        with unittest.mock.patch.object(
                sample, 'old_record', sample.record, create=True):
            execute(self, renamed(f'{SAMPLE}.old_record', f'{SAMPLE}.record'))

    def test_old_name_that_is_not_decorated_any_more(self):
        """Calls of it store nothing."""
        execute(self, renamed(f'{SAMPLE}.undecorated', f'{SAMPLE}.record'))

    def test_names_without_a_module(self):
        """They cannot be stored names."""
        for directive in (renamed('old', f'{SAMPLE}.record'),
                          renamed('app.old', 'record')):
            with self.subTest(directive):
                self.assertRefused(directive)


class DeclarationTest(FunctionalTestCase):
    """What the directive registers."""

    def declaration(self, name='events', processor='simple', site='/'):
        return ServiceDeclaration(name, processor, 1, 1.0, True, site)

    def test_provides_its_interfaces(self):
        """See IServiceDeclaration and IProcessorSettings."""
        verifyObject(IServiceDeclaration, self.declaration())
        verifyObject(IProcessorSettings, self.declaration())
        verifyObject(IProcessorFactory, custom_factory)

    def test_processors(self):
        """The two that are part of the package."""
        db = self.root._p_jar.db()
        for name, class_ in (
                ('simple', SimpleProcessor), ('multi', MultiProcessor)):
            factory = self.declaration(processor=name).processorFactory
            verifyObject(IProcessorFactory, factory)
            self.assertIs(class_, type(factory(db, ['tasks'])))
        multi = factory(db, ['tasks'], waitTime=0.5, maxThreads=3)
        self.assertEqual((0.5, 3), (multi.waitTime, multi.maxThreads))

    def test_finds_its_service(self):
        """In the registry of its site, under its name."""
        self.assertEqual(self.service, self.declaration().find(self.root))
        self.assertIsNone(self.declaration('other').find(self.root))

    def test_finds_no_service_of_another_site(self):
        """A service that is seen from a site need not be registered there."""
        self.add_site('site')
        self.assertIsNone(self.declaration(site='/site').find(self.root))
        service = add_service(self.root['site'], 'events')
        self.assertEqual(
            service, self.declaration(site='/site').find(self.root))
        self.assertEqual(self.service, self.declaration().find(self.root))

    def add_site(self, name):
        self.root[name] = site = zope.site.folder.Folder()
        site.setSiteManager(zope.site.LocalSiteManager(site))
        return site

    def test_finds_its_site(self):
        """Slashes at the ends do not matter."""
        site = self.add_site('site')
        for path in ('site', '/site', 'site/', '/site/'):
            with self.subTest(path):
                self.assertEqual(
                    site, self.declaration(site=path).find_site(self.root))

    def test_finds_no_site(self):
        """Nothing there, or something that is no site, or no container."""
        self.root['folder'] = zope.site.folder.Folder()
        self.root['content'] = Content()
        for path in ('/no', '/no/no', '/folder', '/content', '/content/no'):
            with self.subTest(path):
                declaration = self.declaration(site=path)
                self.assertIsNone(declaration.find_site(self.root))
                self.assertIsNone(declaration.find(self.root))

    def test_declarations_are_sorted(self):
        """Whoever goes through them does it in the same order."""
        for name in 'bca':
            declare(self, name)
        self.assertEqual('abc', ''.join(
            declaration.name for declaration in declarations()))


class SettingsTest(FunctionalTestCase):
    """Settings live in ZCML, not in the database."""

    @contextlib.contextmanager
    def started(self):
        """Start the service's processor without its threads."""
        processors = []
        start = unittest.mock.patch(
            'lovely.remotetask.running.registry.start_processor',
            processors.append)
        with start:
            self.service.startProcessing()
            yield processors[0]

    def test_without_a_declaration(self):
        """A service that is not declared has its own settings."""
        self.assertIsNone(IProcessorSettings(self.service, None))
        self.service.processorFactory = MultiProcessor
        self.service.processorArguments = {'maxThreads': 4}
        with self.started() as processor:
            self.assertIs(MultiProcessor, type(processor))
            self.assertEqual(4, processor.maxThreads)

    def test_override_what_is_stored(self):
        """What ZCML says takes precedence."""
        self.service.processorFactory = MultiProcessor
        self.service.processorArguments = {'maxThreads': 4}
        transaction.commit()
        declare(self, 'events', wait_time=0.5)
        with self.started() as processor:
            self.assertIs(SimpleProcessor, type(processor))
            self.assertEqual(0.5, processor.waitTime)
            self.assertEqual(service_path(self.service),
                             processor.servicePath)

    def test_are_not_stored(self):
        """Asking for them changes nothing in the database."""
        declare(self, 'events', processor='multi', threads=3)
        with self.started() as processor:
            self.assertEqual(3, processor.maxThreads)
        self.assertFalse(self.service._p_changed)
        self.assertNotIn('processorArguments', self.service.__dict__)

    def test_other_services_keep_theirs(self):
        """Another name, or the same name in another site."""
        other = add_service(self.root, 'other', 'other')
        site = self.root['site'] = zope.site.folder.Folder()
        site.setSiteManager(zope.site.LocalSiteManager(site))
        elsewhere = add_service(site, 'events')
        declaration = declare(self, 'events')
        self.assertIs(declaration, IProcessorSettings(self.service))
        self.assertIsNone(IProcessorSettings(other, None))
        self.assertIsNone(IProcessorSettings(elsewhere, None))

    def test_service_without_a_place(self):
        """One that is in no database has its own settings."""
        declare(self, 'events')
        self.assertIsNone(IProcessorSettings(TaskService(), None))
