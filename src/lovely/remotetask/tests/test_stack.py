"""The frames of exceptions, as lines of a traceback."""

import linecache
import os
import pathlib
import sys
import tempfile
import threading
import traceback
import types
import unittest
import unittest.mock

from lovely.remotetask.foreign import stack
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import outcome_of


SOURCE = '''
def fail():
    1 / 0

def fail_for_a_cause():
    try:
        fail()
    except ZeroDivisionError as error:
        raise ExceptionGroup('all', [error, ValueError()]) from error

def ping(number):
    return pong(number)

def pong(number):
    return 1 / 0 if not number else ping(number - 1)

def recur(number):
    return 1 / 0 if not number else recur(number - 1)
'''


class Globals(dict):
    """The namespace of a program that does not like to be asked."""

    def get(self, name, default=None):
        raise SystemExit(name)


def defined(filename, **code):
    """Return a namespace of functions that are said to be of a file."""
    space = types.SimpleNamespace()
    exec(compile(SOURCE, filename, 'exec'), vars(space))
    for name, value in code.items():
        space.fail.__code__ = space.fail.__code__.replace(**{name: value})
    return space


def as_python_formats(error):
    # zope.testrunner replaces format_exception.
    entry = error.__traceback__.tb_next
    return ''.join(traceback.TracebackException(
        type(error), error, entry).format())


class SourceTest(unittest.TestCase):
    """What is looked for as the source of a function."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.addCleanup(linecache.clearcache)
        self.enterContext(unittest.mock.patch.object(
            sys, 'path', [*sys.path, self.folder]))

    def file(self, name='source.py', text=SOURCE):
        path = pathlib.Path(self.folder, name)
        path.write_text(text)
        return str(path)

    def test_shown(self):
        """A file, also one of another folder of the program."""
        for name in self.file(), 'source.py':
            failed = outcome_of(defined(name).fail)
            self.assertIn('    1 / 0\n    ~~^~~\n', failed.traceback)
            self.assertIn('    1 / 0\n    ~~^~~\n', failed.frames)

    def test_a_pipe(self):
        """Nobody waits for what is written to it."""
        path = f'{self.folder}/pipe'
        os.mkfifo(path)
        found = []

        def fail(name):
            found.append(outcome_of(defined(name).fail_for_a_cause))
        for name in path, 'pipe':
            thread = threading.Thread(target=fail, args=(name,), daemon=True)
            thread.start()
            thread.join(10)
            if not found:
                # That ends whoever waits.
                os.close(os.open(path, os.O_RDWR))
                self.fail('it waits')
            failed = found.pop()
            self.assertIn(f'File "{name}", line 3, in fail\n',
                          failed.traceback)

    def test_what_is_large(self):
        """It is not read."""
        path = self.file()
        os.truncate(path, 11 * 2 ** 20)
        failed = outcome_of(defined(path).fail)
        self.assertIn(f'File "{path}", line 3, in fail\nbuiltins.Zero',
                      failed.frames)

    def test_a_long_line(self):
        path = self.file(text=f'\n\n    1 / 0 {"#" * 100_000}\n')
        failed = outcome_of(defined(path).fail)
        self.assertIn('    1 / 0 ###', failed.traceback)
        self.assertLess(len(failed.traceback), 2000)

    def test_path_with_anything(self):
        """Others put into sys.path what is no folder."""
        self.assertTrue(stack._may_be_opened('none.py'))
        with unittest.mock.patch.object(sys, 'path', [7, self.folder]):
            found = stack._may_be_opened('none.py')
        self.assertTrue(found)

    def test_what_is_no_name(self):
        """No file is asked for."""
        space = defined('<text>', co_filename='a\0b')
        # What measures coverage would ask for it.
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)
        failed = outcome_of(space.fail)
        self.assertIn('File "a\\x00b", line 3, in fail\n', failed.frames)


class StackTest(unittest.TestCase):

    maxDiff = None

    def test_repeated(self):
        """The same line is shown some times, as Python does."""
        for number in 1, 2, 3, 4, 500:
            failed = outcome_of(defined(__file__).recur, number)
            self.assertEqual(as_python_formats(failed.exception),
                             failed.traceback)

    def test_in_turn(self):
        for number in 1, 20:
            failed = outcome_of(defined('<text>').ping, number)
            self.assertEqual(as_python_formats(failed.exception),
                             failed.traceback)

    def test_many(self):
        """The first and the last frames are shown."""
        failed = outcome_of(defined('<text>').ping, 400)
        lines = failed.traceback.splitlines()
        self.assertLess(len(lines), 320)
        self.assertIn('  [502 frames are left out]', lines)

    def test_once(self):
        """Each frame is looked at once."""
        error = outcome_of(defined('<text>').fail_for_a_cause).exception
        with unittest.mock.patch.object(
                linecache, 'getline', wraps=linecache.getline) as getline:
            failure_of(error)
        self.assertEqual(3, getline.call_count)

    def test_names_of_many_lines(self):
        """No line is forged by them."""
        forged = 'x\n2024-01-01 CRITICAL: forged'
        for name in 'co_filename', 'co_name', 'co_qualname':
            failed = outcome_of(defined('<text>', **{name: forged}).fail)
            for text in failed.traceback, failed.frames, failed.place:
                self.assertNotIn('\n2024', text)
        name = type(forged, (Exception,), {'__module__': 'a\nb'})
        failed = failure_of(name('message'))
        self.assertEqual(r'a\nb.x\n2024-01-01 CRITICAL: forged',
                         failed.errorClass)
        self.assertNotIn('\n2024', failed.traceback + failed.frames)

    def test_an_odd_namespace(self):
        fail = types.FunctionType(
            defined('<text>').fail.__code__, Globals(__builtins__={}))
        failed = outcome_of(fail)
        self.assertIn('in fail', failed.traceback)
        self.assertIn('in fail', failed.frames)
