"""Exceptions that are hard to describe, to store, or to believe."""

import sys

import transaction.interfaces

from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind


# What their texts do

class Unprintable(Exception):
    """Cannot be printed."""

    def __str__(self):
        raise ValueError('no text')

    __repr__ = __str__


class StrExits(Exception):
    """Ends who prints it."""

    def __str__(self):
        sys.exit(3)


class StrInterrupts(Exception):
    """Looks like a keyboard, to who prints it."""

    def __str__(self):
        raise KeyboardInterrupt


class StrOfNoText(Exception):
    """Has a text that is none."""

    def __str__(self):
        return 5


class StrRecurses(Exception):
    """Asks itself for its text."""

    def __str__(self):
        return str(self)


class StrTransient(Exception):
    """Meets a conflict while it is printed."""

    def __str__(self):
        raise transaction.interfaces.TransientError('the text')


class Unpicklable(str):
    """A text that cannot be pickled."""

    def __reduce__(self):
        raise TypeError('no pickle')


class Liar(str):
    """A text whose methods fail, or lie."""

    def _fail(self, *args, **kw):
        raise RuntimeError('the text')

    __len__ = __getitem__ = __iter__ = __contains__ = __add__ = __eq__ = _fail
    __hash__ = __format__ = encode = split = splitlines = translate = _fail
    replace = strip = rpartition = partition = _fail

    def __str__(self):
        return self


def says(text):
    """Return an exception whose text is this very object."""
    class Says(Exception):
        def __str__(self):
            return text
    return Says()


@kind()
def unprintable(call):
    raise Unprintable


@kind()
def lazy_text(call):
    class Lazy(str):
        pass
    raise says(Lazy('a lazy translation'))


@kind()
def unpicklable_text(call):
    raise says(Unpicklable('bad thing'))


@kind()
def lying_text(call):
    raise says(Liar('bad thing'))


@kind()
def str_exits(call):
    raise StrExits


@kind()
def str_interrupts(call):
    raise StrInterrupts


@kind()
def str_is_no_text(call):
    raise StrOfNoText


@kind()
def str_recurses(call):
    raise StrRecurses


@kind(calls=TRANSIENT_CALLS)
def str_is_transient(call):
    raise StrTransient


@kind()
def args_unprintable(call):
    raise ValueError(Unprintable(), [Unprintable()])


@kind()
def huge_message(call):
    raise ValueError('x' * 2_000_000)


@kind()
def surrogates(call):
    raise ValueError('caf\udce9 \ud800')


@kind()
def control_characters(call):
    raise ValueError(
        'one\r\n2026-01-01T00:00:00 CRITICAL root forged\x1b[2J\x00\x85')


@kind()
def bytes_text(call):
    raise ValueError(b'\xff\xfe')


# What hangs on them

class NotesRaise(Exception):
    """Fails when it is asked for its notes."""

    @property
    def __notes__(self):
        raise RuntimeError('notes')


class NotesExit(Exception):
    """Ends who asks for its notes."""

    @property
    def __notes__(self):
        sys.exit('notes')


def failing(name, error=RuntimeError):
    """Return an exception that fails when it is asked for an attribute."""
    def fail(self, *value):
        raise error(name)
    return type('Failing', (Exception,), {name: property(fail)})('failing')


@kind()
def notes_raise(call):
    raise NotesRaise('x')


@kind()
def notes_exit(call):
    raise NotesExit('x')


@kind()
def many_notes(call):
    error = ValueError('x')
    error.__notes__ = ['n' * 10_000] * 1000 + [5, b'\xff', Unprintable()]
    raise error


@kind()
def notes_are_no_list(call):
    error = ValueError('x')
    error.__notes__ = Unprintable()
    raise error


@kind()
def cause_raises(call):
    raise failing('__cause__')


@kind()
def context_exits(call):
    raise failing('__context__', SystemExit)


@kind()
def traceback_raises(call):
    raise failing('__traceback__')


@kind()
def cyclic_cause(call):
    one, two = ValueError('one'), ValueError('two')
    one.__cause__, two.__cause__ = two, one
    raise one


@kind()
def deep_cause(call):
    error = ValueError('0')
    for number in range(2000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    raise error


@kind()
def wide_group(call):
    raise BaseExceptionGroup(
        'wide', [*map(ValueError, range(1000)), Unprintable(), SystemExit(1)])


@kind()
def deep_group(call):
    error = ValueError('0')
    for number in range(400):
        error = ExceptionGroup(str(number), [error])
    raise error


@kind()
def one_in_many_groups(call):
    """Whoever follows each way to it comes to no end."""
    error = ValueError('0')
    for number in range(60):
        error = ExceptionGroup(str(number), [error, error])
    raise error


class NewCauses(Exception):
    """Has another cause whenever it is asked for its text."""

    def __str__(self):
        self.__cause__ = NewCauses()
        return 'endless'


@kind()
def new_causes(call):
    raise NewCauses


class OddServer(OSError):
    """Looks like a storage that is away; ends who looks closely."""

    @property
    def __traceback__(self):
        sys.exit('traceback')


@kind()
def odd_server(call):
    raise OddServer


@kind()
def huge_traceback(call):
    code = compile(f'call(call)\n{"#" * 100_000}', 'x' * 50_000, 'exec')

    def down(depth):
        if depth:
            exec(code, {'call': lambda again: down(depth - 1)})
        raise ValueError('at the bottom')
    down(50)


class Source:
    """A loader of a module that fails when it is asked for its source."""

    def get_source(self, name):
        raise SystemExit('the source')


@kind()
def source_exits(call):
    exec(compile('raise ValueError("x")', 'nowhere.py', 'exec'),
         {'__loader__': Source(), '__name__': 'nowhere', '__spec__': None})


@kind()
def local_variables_raise(call):
    evil = Unprintable()
    raise ValueError(str(bool(evil)))


class Dir:
    """Fails when somebody looks for names that are similar."""

    def __dir__(self):
        raise SystemExit('dir')


@kind()
def suggestions_exit(call):
    raise AttributeError('x', name='x', obj=Dir())


@kind()
def syntax_error_of_bytes(call):
    raise SyntaxError('bad', ('f', 1, 1, b'code'))


@kind()
def syntax_error_of_anything(call):
    raise SyntaxError('bad', (b'\xff', 'line', -1, Unprintable(), [], {}))


@kind()
def os_error_of_anything(call):
    raise OSError(Unprintable(), Unprintable(), Unprintable())


# What their classes say

class Meta(type):
    """A class whose name fails, and which is not like any other."""

    def _fail(self, *args):
        raise SystemExit('the class')

    __getattribute__ = __repr__ = __eq__ = __hash__ = _fail


class Named(type):
    """A class whose name is none."""

    def __getattribute__(cls, name):
        if name in ('__name__', '__qualname__', '__module__'):
            return b'\xff'
        return super().__getattribute__(name)


@kind()
def class_raises(call):
    raise Meta('Odd', (Exception,), {})


@kind()
def class_without_name(call):
    raise Named('Odd', (Exception,), {'__module__': None})


@kind()
def class_with_huge_name(call):
    raise type('x' * 1_000_000, (Exception,), {'__module__': 'm\n' * 1000})


@kind()
def class_lies(call):
    raise type('Odd', (Exception,), {
        '__class__': property(lambda self: sys.exit('class'))})


@kind()
def class_claims_to_be_transient(call):
    raise type('Odd', (Exception,), {
        '__class__': transaction.interfaces.TransientError})


@kind()
def unequal(call):
    def fail(self, *args):
        raise RuntimeError('compared')
    raise type('Odd', (Exception,), {
        '__eq__': fail, '__hash__': fail, '__bool__': fail})
