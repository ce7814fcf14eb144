"""Tests of gocept.async, the other name of gocept.async_.

What a name leads to depends on what was imported before, so each order is
tried in a process of its own.
"""

import importlib
import pickle
import unittest

import zope.dottedname.resolve

import gocept.async_
from gocept.async_.tests import interpreter


ALIAS = 'gocept.async'
SUBMODULES = (
    'argument', 'declaration', 'decorator', 'interfaces', 'startup', 'task',
    'testing', 'tests', 'tests.sample', 'zcml')

# Asserts, at the end of a program, that nothing was loaded twice.
CHECK = '''
import importlib, sys
real, alias = 'gocept.async_', 'gocept.async'
aliased = [name for name in sys.modules
           if name == alias or name.startswith(alias + '.')]
assert aliased
for name in aliased:
    module = sys.modules[name]
    real_name = real + name[len(alias):]
    assert module is sys.modules[real_name], name
    assert module.__name__ == real_name, module.__name__
    assert module.__spec__.name == real_name, module.__spec__
    assert module.__spec__.loader is module.__loader__, name
    assert not module.__spec__._initializing, name
files = [module.__file__ for name, module in sorted(sys.modules.items())
         if name.startswith(real) and getattr(module, '__file__', None)]
assert len(files) == len(set(files)), files
finders = [finder for finder in sys.meta_path
           if type(finder).__name__ == 'AliasFinder']
assert len(finders) == 1, finders
print('fine')
'''


class OrderTest(unittest.TestCase):
    """The same modules, whatever was imported first."""

    def assertFine(self, code):
        self.assertEqual('fine', interpreter.run(code + CHECK))

    def test_alias_first(self):
        """The alias loads the package under its real name."""
        self.assertFine('''
import importlib
alias = importlib.import_module('gocept.async')
import gocept.async_
assert alias is gocept.async_
assert getattr(gocept, 'async') is gocept.async_
''')

    def test_alias_last(self):
        """A package that is loaded is not loaded again."""
        self.assertFine('''
import gocept.async_.task
import importlib
assert importlib.import_module('gocept.async') is gocept.async_
assert importlib.import_module('gocept.async.task') is gocept.async_.task
''')

    def test_submodule_through_the_alias_first(self):
        """The parent package comes with it."""
        self.assertFine('''
import importlib
task = importlib.import_module('gocept.async.task')
import gocept.async_.task
assert task is gocept.async_.task
''')

    def test_submodule_that_nobody_has_loaded(self):
        """Not imported by the package itself, so only the finder can."""
        self.assertFine('''
import importlib, sys
importlib.import_module('gocept.async')
assert 'gocept.async_.testing' not in sys.modules
testing = importlib.import_module('gocept.async.testing')
import gocept.async_.testing
assert testing is gocept.async_.testing
''')

    def test_subpackage_and_module_in_it(self):
        """At any depth."""
        self.assertFine('''
import importlib
sample = importlib.import_module('gocept.async.tests.sample')
import gocept.async_.tests.sample
assert sample is gocept.async_.tests.sample
assert gocept.async_.tests.sample.calls == []
''')

    def test_dotted_name(self):
        """As configuration refers to functions and classes."""
        self.assertFine('''
from zope.dottedname.resolve import resolve
function = resolve('gocept.async.function')
Description = resolve('gocept.async.task.TaskDescription')
import gocept.async_
assert function is gocept.async_.function
assert Description is gocept.async_.task.TaskDescription
''')

    def test_pickle(self):
        """A class stored under the old name is the new one."""
        self.assertFine('''
import pickle
Description = pickle.loads(
    b'cgocept.async.task\\nTaskDescription\\n.')
import gocept.async_.task
assert Description is gocept.async_.task.TaskDescription
assert b'gocept.async_.task' in pickle.dumps(Description, 2)
''')

    def test_imported_again(self):
        """Executing the alias twice installs nothing twice."""
        self.assertFine('''
import importlib, sys
importlib.import_module('gocept.async')
del sys.modules['gocept.async']
importlib.import_module('gocept.async')
importlib.import_module('gocept.async.task')
''')

    def test_threads(self):
        """Threads that import both names at once get one module."""
        self.assertFine('''
import importlib, threading
barrier = threading.Barrier(6)
found = []
def load(name):
    barrier.wait(60)
    found.append(importlib.import_module(name))
threads = [threading.Thread(target=load, args=(name,)) for name in
           ['gocept.async.task', 'gocept.async_.task'] * 3]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
assert len(found) == 6 and len(set(map(id, found))) == 1, found
''')

    def test_module_that_does_not_exist(self):
        """It is an ordinary ModuleNotFoundError."""
        self.assertFine('''
import importlib
for name in 'gocept.async.nothing', 'gocept.async.task.nothing':
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError(name)
''')


class ZCMLTest(unittest.TestCase):
    """The alias in ZCML."""

    APPLICATION = '''
import importlib
import zope.component
importlib.import_module('gocept.async')
from zope.configuration import xmlconfig
from lovely.remotetask.interfaces import ITask
from gocept.async_.interfaces import IServiceDeclaration
xmlconfig.string("""
<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:async="http://namespaces.gocept.com/async">
%s
<async:service name="events" />
</configure>""")
import gocept.async_.task
task = zope.component.getUtility(ITask, 'gocept.async.function')
assert type(task) is gocept.async_.task.AsyncFunction
zope.component.getUtility(IServiceDeclaration, 'events')
subscribers = [handler for handler
               in zope.component.getGlobalSiteManager().registeredHandlers()
               if handler.handler.__module__ == 'gocept.async_.startup']
assert len(subscribers) == 2, subscribers
'''
    OLD = '''
<include package="gocept.async" file="meta.zcml" />
<include package="gocept.async" />
'''
    NEW = OLD.replace('gocept.async', 'gocept.async_')

    def assertFine(self, includes):
        self.assertEqual(
            'fine',
            interpreter.run(self.APPLICATION % includes + CHECK))

    def test_include_by_the_alias(self):
        """meta.zcml and configure.zcml of the package are found."""
        self.assertFine(self.OLD)

    def test_include_by_both_names(self):
        """It is one file, included once; nothing conflicts."""
        self.assertFine(self.OLD + self.NEW)
        self.assertFine(self.NEW + self.OLD)

    def test_include_as_the_first_import(self):
        """ZCML may be the first to name the package at all."""
        self.assertEqual('fine', interpreter.run(r'''
from zope.configuration import xmlconfig
xmlconfig.string("""
<configure xmlns="http://namespaces.zope.org/zope">
  <include package="gocept.async" />
</configure>""")
''' + CHECK))


class SameProcessTest(unittest.TestCase):
    """The alias in a process that uses the package already."""

    def test_every_module(self):
        """Each module is the same one, and has kept its own name."""
        self.assertIs(gocept.async_, importlib.import_module(ALIAS))
        for name in SUBMODULES:
            with self.subTest(name):
                module = importlib.import_module(f'{ALIAS}.{name}')
                real_name = f'gocept.async_.{name}'
                self.assertIs(importlib.import_module(real_name), module)
                self.assertEqual(real_name, module.__name__)
                self.assertEqual(real_name, module.__spec__.name)

    def test_objects(self):
        """What the modules define is the same, too."""
        self.assertIs(
            gocept.async_.function,
            zope.dottedname.resolve.resolve('gocept.async.function'))
        self.assertIs(
            gocept.async_.is_async,
            pickle.loads(b'cgocept.async\nis_async\n.'))
