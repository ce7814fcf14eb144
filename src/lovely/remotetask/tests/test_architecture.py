"""The order of levels in the source, read from its imports."""

import ast
import pathlib
import re
import unittest

import lovely.remotetask


PACKAGE = pathlib.Path(lovely.remotetask.__file__).parent
SOURCE = PACKAGE.parent.parent

# Each may import only those before it.
LEVELS = (
    'interfaces', 'part', 'number', 'moment', 'zone', 'wallclock', 'cron',
    'policy', 'task',
    'foreign.description', 'foreign.outcome', 'foreign.journal',
    'foreign.copier', 'foreign.value', 'foreign.record', 'foreign.blame',
    'foreign.unreadable',
    'job', 'machine',
    'storage.current', 'storage.lane', 'storage.lease', 'storage.pool',
    'storage.ledger', 'storage.worker', 'storage.lookup', 'storage.crew',
    'storage.books', 'storage.removal', 'storage.aside', 'storage.settlement',
    'storage.counting', 'storage.passing', 'storage.source', 'storage.audit',
    'storage.taking', 'storage.tidy', 'storage.store', 'storage.backwards',
    'storage.listing', 'storage.cleaning', 'storage.upgrade',
    'jobexecution',
    'running.session', 'running.surroundings', 'running.refusal',
    'running.gate', 'running.runlog', 'running.execution', 'running.group',
    'running.reserve', 'running.alive', 'running.quirks', 'running.settings',
    'running.registry', 'running.lag', 'running.clock', 'running.watch',
    'running.tempo', 'running.duty', 'running.duties', 'running.claims',
    'running.membership', 'running.member', 'running.runner', 'running.team',
    'running.claimer', 'running.direct',
    'xmlrpc', 'startup', 'processor', 'service', 'bulk', 'testing')

# Parts of the package that nothing else may import.
OUTSIDE = {'tests', 'browser', 'generations'}

FOLDERS = 'foreign', 'storage', 'running'


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
        allowed = {'interfaces', 'browser'}
        for path in [PACKAGE / 'xmlrpc.py',
                     *sources(PACKAGE / 'browser')]:
            with self.subTest(path.name):
                self.assertLessEqual(siblings(path), allowed)

    def test_nothing_stands_on_the_outside(self):
        """No module imports pages or tests."""
        for path in sources(PACKAGE):
            with self.subTest(path.name):
                self.assertFalse(siblings(path) & OUTSIDE)

    def test_no_relative_imports(self):
        """Imports say the full name; so this test can read them."""
        for path in sources(SOURCE):
            with self.subTest(path.name):
                self.assertFalse(
                    [name for name in imports(path) if name.startswith('.')])


class RoomsTest(unittest.TestCase):

    DOCUMENT = SOURCE.parent / 'docs' / 'design.rst'

    @unittest.skipUnless(DOCUMENT.exists(), 'installed without the documents')
    def test_each_room_is_listed(self):
        """docs/design.rst names the modules there are, and no others."""
        chapters = self.DOCUMENT.read_text(encoding='utf-8').split(
            '\nAnd in ``gocept.async_``')
        for chapter, package, folders in (
                (chapters[0], PACKAGE, FOLDERS),
                (chapters[1], SOURCE / 'gocept' / 'async_',
                 ('worker', 'celery'))):
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

        And where it is asked whether there can be any, what they share, and
        whether the current one can be interrupted.
        """
        threading = {'threading', '_thread', 'concurrent', 'asyncio',
                     'multiprocessing'}
        found = {path.name for path in sources(PACKAGE)
                 if threading & {name.split('.')[0] for name in imports(path)}}
        self.assertEqual({'blame.py', 'duty.py', 'gate.py', 'outcome.py',
                          'processor.py', 'registry.py', 'runner.py',
                          'settings.py', 'surroundings.py', 'team.py',
                          'watch.py'}, found)


class StyleTest(unittest.TestCase):

    def catches_everything(self, handler):
        names = handler.type
        return names is None or bool(
            {node.id for node in ast.walk(names)
             if isinstance(node, ast.Name)} & {'Exception', 'BaseException'})

    def test_everything_is_caught_in_one_place(self):
        """Only `outcome.attempt` catches every exception."""
        found = []
        for path in sources(SOURCE):
            for function in nodes(path, ast.FunctionDef):
                found += [
                    f'{path.relative_to(SOURCE)}:{function.name}'
                    for handler in ast.walk(function)
                    if isinstance(handler, ast.ExceptHandler)
                    and self.catches_everything(handler)]
        self.assertEqual(
            ['lovely/remotetask/foreign/outcome.py:attempt'], found)

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
