"""The order of levels in the source, read from its imports."""

import ast
import graphlib
import pathlib
import re
import unittest

import lovely.remotetask


PACKAGE = pathlib.Path(lovely.remotetask.__file__).parent
SOURCE = PACKAGE.parent.parent

# Each may import only those before it.
LEVELS = (
    'interfaces', 'part', 'number', 'moment', 'zone', 'wallclock', 'crontab',
    'cron', 'task',
    'foreign.texts', 'foreign.twin', 'foreign.stack',
    'foreign.description', 'foreign.outcome', 'foreign.journal',
    'foreign.copier', 'foreign.value', 'foreign.record', 'foreign.blame',
    'foreign.unreadable', 'foreign.reference', 'foreign.storederror',
    'retry', 'policy', 'ruling', 'history', 'job', 'machine', 'forking',
    'measure', 'snapshot',
    'storage.current', 'storage.numbering', 'storage.lane', 'storage.lease',
    'storage.ledger', 'storage.meter', 'storage.worker', 'storage.lookup',
    'storage.adder', 'storage.actions',
    'storage.crew', 'storage.crons', 'storage.books', 'storage.removal',
    'storage.aside', 'storage.settlement', 'storage.unclaimed',
    'storage.counting', 'storage.passing', 'storage.source', 'storage.share',
    'storage.audit',
    'storage.taking', 'storage.tidy', 'storage.store', 'storage.selection',
    'storage.backwards', 'storage.whereabouts', 'storage.bookmark',
    'storage.listing',
    'storage.cleaning', 'storage.earlier', 'storage.fate', 'storage.look',
    'storage.strays', 'storage.telling', 'storage.upgrade',
    'runends', 'workerrecords', 'upkeep', 'jobexecution',
    'running.quirks', 'running.server', 'running.processstate',
    'running.surroundings',
    'running.principal', 'running.application', 'running.signature',
    'running.child', 'running.session',
    'running.refusal', 'running.leftover', 'running.gate', 'running.duty',
    'running.channel',
    'running.outbox', 'running.bell', 'running.telegraph', 'running.wire',
    'running.events',
    'running.runlog', 'running.tracing', 'running.execution',
    'running.group', 'running.alive',
    'running.settings', 'running.registry', 'running.lag', 'running.clock',
    'running.watch', 'running.tempo', 'running.duties', 'running.claims',
    'running.tally', 'running.membership', 'running.member', 'running.runner',
    'running.team', 'running.suspects', 'running.claimer', 'running.idling',
    'running.direct', 'xmlrpc', 'startup', 'processor', 'service', 'named',
    'bulk', 'operations', 'testing', 'jobtexts', 'management',
    'browser.markup', 'browser.wording', 'browser.cells',
    'browser.environment', 'browser.problem',
    'browser.parameters', 'browser.selection', 'browser.place',
    'browser.assets', 'browser.frame', 'browser.missing', 'browser.page',
    'browser.rows', 'browser.flash', 'browser.posted', 'browser.action',
    'browser.cronwords',
    'browser.cronform', 'browser.cronedit', 'browser.cronadd',
    'browser.jobpage', 'browser.bulkpage',
    'browser.joblist', 'browser.serviceaction', 'browser.charts',
    'browser.metrics', 'browser.servicepage', 'browser.cronpage',
    'browser.workerpage', 'browser.metricspage', 'browser.auditpage',
    'browser.openapi', 'browser.pages')

# Parts of the package that nothing else may import.
OUTSIDE = {'tests', 'browser', 'generations'}

FOLDERS = 'foreign', 'storage', 'running', 'browser'


def sources(folder):
    """Return the Python files below a folder, tests and demo excepted."""
    return [path for path in sorted(folder.rglob('*.py'))
            if not {'tests', 'demo'} & set(path.relative_to(folder).parts)]


def nodes(path, kind):
    tree = ast.parse(path.read_text(encoding='utf-8'), str(path))
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def imports(path):
    """Return the dotted names that a module imports, also in functions."""
    found = set()
    for node in nodes(path, (ast.Import, ast.ImportFrom)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.level:
            # Relative: not used here, and not resolved.
            found.add('.' * node.level + (node.module or ''))
        else:
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


def siblings(path):
    """Return the names of the modules of the package that one imports."""
    return {room(name) for name in imports(path)
            if name.startswith('lovely.remotetask.')}


def room(name):
    """Return the name of a module, within the package, from a dotted name.
    """
    _, _, *parts = name.split('.')
    folder = 2 if parts[0] in FOLDERS else 1
    return '.'.join(parts[:folder])


def file_of(level):
    return PACKAGE.joinpath(*level.split('.')).with_suffix('.py')


def rooms(package, folders):
    """Return the names of the modules of a package, of those in folders too.
    """
    names = {path.stem for path in package.glob('*.py')}
    for folder in folders:
        names |= {f'{folder}.{path.stem}'
                  for path in (package / folder).glob('*.py')
                  if path.stem != '__init__'}
    return names - {'__init__'}


class LevelTest(unittest.TestCase):

    def test_every_module_has_a_level(self):
        """A new module is entered in the list of levels."""
        self.assertEqual(set(LEVELS), rooms(PACKAGE, FOLDERS))

    def test_modules_import_those_before_them(self):
        """No module imports itself or one of a later level."""
        for number, name in enumerate(LEVELS):
            with self.subTest(name):
                self.assertLessEqual(
                    siblings(file_of(name)), set(LEVELS[:number]))

    def test_views_stand_on_interfaces(self):
        """Pages and remote methods import the interfaces alone."""
        allowed = {'interfaces', *(name for name in LEVELS
                                   if name.startswith('browser.'))}
        for path in [PACKAGE / 'xmlrpc.py',
                     *sources(PACKAGE / 'browser')]:
            with self.subTest(path.name):
                self.assertLessEqual(siblings(path), allowed)

    def test_nothing_stands_on_the_outside(self):
        """No module imports pages or tests."""
        for path in sources(PACKAGE):
            if path.parent.name == 'browser':
                continue
            with self.subTest(path.name):
                self.assertFalse(OUTSIDE & {
                    name.partition('.')[0] for name in siblings(path)})

    def test_no_relative_imports(self):
        """Imports say the full name; so this test can read them."""
        for path in sources(SOURCE):
            with self.subTest(path.name):
                self.assertFalse(
                    [name for name in imports(path) if name.startswith('.')])


class RoomsTest(unittest.TestCase):

    DOCUMENT = SOURCE.parent / 'docs' / 'explanation' / 'design.rst'

    @unittest.skipUnless(DOCUMENT.exists(), 'installed without the documents')
    def test_each_room_is_listed(self):
        """The document names the modules there are, and no others."""
        chapters = self.DOCUMENT.read_text(encoding='utf-8').split(
            '\nAnd in ``gocept.async_``')
        for chapter, package, folders in (
                (chapters[0], PACKAGE, FOLDERS),
                (chapters[1], SOURCE / 'gocept' / 'async_',
                 ('worker', 'celery', 'crons', 'move', 'pages',
                  'manage', 'upgrade'))):
            with self.subTest(package.name):
                self.assertEqual(
                    rooms(package, folders), set(listed(chapter)))


def listed(chapter):
    """Yield the rooms that the tables of a chapter name.

    A line ``folder/`` tells where those below it are.
    """
    folder = ''
    for name in re.findall(r'^``([\w/]+)``(?:  |$)', chapter, re.M):
        if name.endswith('/'):
            folder = f'{name[:-1]}.' if name != '/' else ''
        else:
            yield f'{folder}{name}'


class PackageTest(unittest.TestCase):

    def test_lovely_does_not_import_gocept(self):
        """There is one direction between the two packages."""
        for path in sources(PACKAGE):
            with self.subTest(path.name):
                self.assertFalse([name for name in imports(path)
                                  if name.split('.')[0] == 'gocept'])

    def test_threads_live_in_the_processor(self):
        """Threads are known here, at its gate and where it is registered.

        And where it is asked whether there can be any, what they share, which
        one this is, and whether it can be interrupted.
        """
        threading = {'threading', '_thread', 'concurrent', 'asyncio',
                     'multiprocessing'}
        found = {path.name for path in sources(PACKAGE)
                 if threading & {name.split('.')[0] for name in imports(path)}}
        self.assertEqual({'blame.py', 'claimer.py', 'duty.py', 'gate.py',
                          'idling.py', 'outbox.py', 'outcome.py',
                          'processor.py', 'refusal.py', 'registry.py',
                          'runner.py',
                          'processstate.py', 'settings.py', 'suspects.py',
                          'tally.py', 'team.py', 'watch.py', 'wire.py'},
                         found)


class ApplicationServerTest(unittest.TestCase):
    """One room knows the publication."""

    # The layer of the tests is an application of the Toolkit.
    KNOW = {'lovely/remotetask/running/application.py',
            'gocept/async_/testlayer.py'}

    TOOLKIT = ('zope.app.', 'zope.site.', 'zope.traversing.',
               'zope.principalregistry.')

    def others(self):
        """Yield all modules but those that know it, with their names."""
        for path in sources(SOURCE):
            name = str(path.relative_to(SOURCE))
            if name not in self.KNOW:
                yield name, path

    def test_nobody_else_imports_the_toolkit(self):
        for name, path in self.others():
            with self.subTest(name):
                self.assertFalse(
                    [each for each in imports(path)
                     if f'{each}.'.startswith(self.TOOLKIT)])

    def test_nobody_else_knows_the_root(self):
        """Neither by the name of the constant nor by what it is."""
        for name, path in self.others():
            texts = {node.value for node in nodes(path, ast.Constant)}
            names = {node.attr for node in nodes(path, ast.Attribute)}
            with self.subTest(name):
                self.assertNotIn('Application', texts)
                self.assertNotIn('root_name', names)

    def test_nobody_imports_the_room(self):
        """It is asked for: another one may be in its place."""
        rooms = {'running.application', 'running.principal'}
        for name, path in self.others():
            if name != 'lovely/remotetask/running/principal.py':
                with self.subTest(name):
                    self.assertFalse(siblings(path) & rooms)

    def test_one_room_knows_what_a_thread_does_as_whom(self):
        """Interactions and sites are set there, and nowhere else."""
        thread = {'zope.security.management', 'zope.component.hooks',
                  'zope.authentication.interfaces'}
        found = {name for name, path in self.others()
                 if thread & imports(path)}
        # With a stand-in for a principal that is gone.
        found.discard('gocept/async_/testing.py')
        self.assertEqual({'lovely/remotetask/running/principal.py',
                          'lovely/remotetask/running/surroundings.py'}, found)

    def test_common_zcml_knows_nothing_of_it(self):
        """Only toolkit.zcml and the one that includes it do."""
        for path in SOURCE.rglob('common.zcml'):
            text = path.read_text(encoding='utf-8')
            with self.subTest(str(path.relative_to(SOURCE))):
                for word in (*self.TOOLKIT, 'zope.processlifetime',
                             'running.application'):
                    self.assertNotIn(word, text)


class RetryTest(unittest.TestCase):
    """Whatever is tried again is so in one room."""

    def others(self):
        return [path for path in sources(SOURCE) if path.name != 'retry.py']

    def test_one_doubling(self):
        """Nobody else doubles a wait."""
        for path in self.others():
            text = path.read_text(encoding='utf-8')
            with self.subTest(path.name):
                self.assertEqual(
                    [], re.findall(r' 2 \*\* ?[a-z(]|\b2 \* self\._', text))

    def test_one_loop(self):
        """Nobody else catches transient errors to go on."""
        for path in self.others():
            caught = {
                getattr(node, 'id', getattr(node, 'attr', None))
                for handler in nodes(path, ast.ExceptHandler)
                if handler.type is not None
                for node in ast.walk(handler.type)}
            with self.subTest(path.name):
                self.assertFalse(caught & {'TransientError', 'ConflictError'})


class QuirksTest(unittest.TestCase):
    """One room knows the faults of storages; others, whose a failure is, and
    what a connection shows.
    """

    KNOW = {'quirks.py', 'blame.py', 'snapshot.py'}

    # Of a storage, and of nothing else.
    ASKED = {'isReadOnly', 'sortKey', 'is_connected', 'ping', 'release',
             'notify_connected', '_oids', 'getSize', 'lastTransaction'}

    def test_nobody_else_asks_storages(self):
        for path in sources(SOURCE):
            if path.name not in self.KNOW:
                with self.subTest(path.name):
                    self.assertFalse([
                        ast.unparse(node) for node in nodes(
                            path, ast.Attribute)
                        if node.attr in self.ASKED
                        and re.search('storage', ast.unparse(node.value))])

    def test_nobody_else_knows_kinds_of_storages(self):
        for path in sources(SOURCE):
            if path.name not in self.KNOW:
                with self.subTest(path.name):
                    self.assertFalse([name for name in imports(path)
                                      if re.match(r'ZODB\.\w+Storage|ZEO\b|'
                                                  r'relstorage', name)])


class ForkingTest(unittest.TestCase):
    """What belongs to a process begins anew in its children."""

    # The database that was opened is that of who has opened it, and so are
    # its connections; a child that opens one remembers that.
    INHERITED = {'startup.py'}

    def test_one_handler(self):
        for path in sources(SOURCE):
            with self.subTest(path.name):
                self.assertEqual(
                    path.name == 'forking.py', 'register_at_fork' in {
                        node.attr for node in nodes(path, ast.Attribute)})

    def test_who_has_state_says_how_it_begins(self):
        """Each module that sets a global of its own."""
        for path in sources(SOURCE):
            if path.name in self.INHERITED | {'forking.py'}:
                continue
            if nodes(path, ast.Global):
                with self.subTest(path.name):
                    self.assertIn('lovely.remotetask.forking.of_process',
                                  imports(path))


class BenchmarksTest(unittest.TestCase):

    FOLDER = SOURCE.parent / 'benchmarks'

    @unittest.skipUnless(FOLDER.exists(), 'installed without the benchmarks')
    def test_no_import_cycle(self):
        """No benchmark imports, by way of others, itself."""
        found = {path.stem: {name.split('.')[0] for name in imports(path)}
                 for path in sources(self.FOLDER)}
        # This raises CycleError.
        graphlib.TopologicalSorter(
            {name: names & set(found) for name, names in found.items()}
        ).prepare()


class StyleTest(unittest.TestCase):

    def catches_everything(self, handler):
        names = handler.type
        return names is None or bool(
            {node.id for node in ast.walk(names)
             if isinstance(node, ast.Name)} & {'Exception', 'BaseException'})

    def test_everything_is_caught_in_one_place(self):
        """Only `outcome.outcome_of` catches every exception."""
        found = []
        for path in sources(SOURCE):
            for function in nodes(path, ast.FunctionDef):
                found += [
                    f'{path.relative_to(SOURCE)}:{function.name}'
                    for handler in ast.walk(function)
                    if isinstance(handler, ast.ExceptHandler)
                    and self.catches_everything(handler)]
        self.assertEqual(
            ['lovely/remotetask/foreign/outcome.py:outcome_of'], found)

    def test_loggers_are_made_in_one_place(self):
        """Each logger is one of `journal`: it never raises, nor is silent."""
        found = [str(path.relative_to(SOURCE)) for path in sources(SOURCE)
                 if 'getLogger(__name__)' in path.read_text('utf-8')]
        self.assertEqual([], found)

    def test_requests_are_asked_in_one_place(self):
        """What a request `get`s may be what its sender has written."""
        found = [str(path.relative_to(SOURCE)) for path in sources(SOURCE)
                 if 'request.get(' in path.read_text('utf-8')]
        self.assertEqual([], found)

    def test_nothing_is_caught_outside_of_functions(self):
        """Nor does a module catch everything at its top."""
        for path in sources(SOURCE):
            handlers = nodes(path, ast.ExceptHandler)
            count = sum(map(self.catches_everything, handlers))
            with self.subTest(path.name):
                self.assertEqual(path.name == 'outcome.py', bool(count))

    def test_statuses_are_compared_as_strings(self):
        """Statuses that were read from the database are equal, not same."""
        from lovely.remotetask import interfaces
        constants = {name for name, value in vars(interfaces).items()
                     if value in interfaces.STATUSES}
        for path in sources(SOURCE):
            for node in nodes(path, ast.Compare):
                by_identity = [op for op in node.ops
                               if isinstance(op, ast.Is | ast.IsNot)]
                names = {getattr(part, 'id', getattr(part, 'attr', None))
                         for part in ast.walk(node)}
                with_none = any(isinstance(part, ast.Constant)
                                and part.value is None
                                for part in ast.walk(node))
                with self.subTest(f'{path.name}:{node.lineno}'):
                    self.assertFalse(
                        by_identity and not with_none
                        and names & (constants | {'status'}))
