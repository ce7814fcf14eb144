"""The references in a record, found and replaced without loading objects.

``ZODB.serialize`` tells how records and references look.
"""

import io
import pickletools
import struct
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import zodbpickle.pickle

from lovely.remotetask.foreign.outcome import outcome_of


# The opcode by which ZODB refers to a persistent object.
REFERENCE = 'BINPERSID'


class Reference(NamedTuple):
    """A reference to a persistent object.

    oid -- bytes.
    class_ -- module and name of its class; None where that is not told.
    database -- the name of the other database where it is; None: the same.
    is_weak -- whether it keeps nothing.
    """

    oid: bytes
    class_: tuple[str, str] | None = None
    database: str | None = None
    is_weak: bool = False

    def encode(self) -> bytes:
        """Return what a pickle has between two opcodes to refer to it."""
        named = _text(self.database) if self.database is not None else b''
        oid = b'C\x08' + self.oid
        class_ = b'' if self.class_ is None else _global(*self.class_)
        if self.is_weak:
            # A tuple of one or of two.
            ends = b'\x85' if not named else b'\x86'
            return _tagged('w', oid + named + ends)
        if named and class_:
            return _tagged('m', named + oid + class_ + b'\x87')
        if named:
            return _tagged('n', named + oid + b'\x86')
        return oid + class_ + (b'\x86' if class_ else b'')


def _tagged(kind: str, value: bytes) -> bytes:
    return b'](' + _text(kind) + value + b'e'


def _text(text: str) -> bytes:
    encoded = text.encode('utf-8', 'surrogatepass')
    return b'X' + struct.pack('<I', len(encoded)) + encoded


def _global(module: str, name: str) -> bytes:
    return b'c' + f'{module}\n{name}\n'.encode()


class Stand(type):
    """Stands for anything that a record makes, and takes what is done to it.

    Each one is a class: a record may call what it has made, or make objects of
    it, as if it were one.
    """

    # Module and name; None for what no record names.
    of: tuple[str, str] | None = None

    def __call__(cls, *args: Any, **kw: Any) -> 'Stand':
        return ANYTHING

    def __setstate__(cls, state: Any) -> None:
        pass

    def __setitem__(cls, key: Any, value: Any) -> None:
        pass

    def append(cls, value: Any) -> None:
        """Take the item of a list."""

    def extend(cls, values: Any) -> None:
        """Take the items of a list."""

    def add(cls, value: Any) -> None:
        """Take the item of a set."""


class Anything(metaclass=Stand):
    """Stands for what is not named."""

    # Objects are made by this, too: then no class is called.
    def __new__(cls, *args: Any, **kw: Any) -> Any:
        return ANYTHING


ANYTHING: Stand = Anything


class Record(NamedTuple):
    """What is in a record.

    class_ -- module and name of the class of its object; None: not told.
    references -- list of Reference, in their order.
    """

    class_: tuple[str, str] | None
    references: list[Reference]


class _Reader(zodbpickle.pickle.Unpickler):
    """Reads a record, and makes none of its objects."""

    def __init__(self, data: bytes) -> None:
        # A string that Python 2 has written may have any bytes.
        super().__init__(io.BytesIO(data), encoding='latin-1')
        self.found: list[Reference] = []
        self._classes: dict[tuple[str, str], Stand] = {}

    def find_class(self, module: str, name: str) -> Stand:
        """Return what stands for a class."""
        key = module, name
        if key not in self._classes:
            self._classes[key] = Stand('Named', (Anything,), {'of': key})
        return self._classes[key]

    def persistent_load(self, stored: Any) -> Stand:
        """Note a reference; return what stands for the object."""
        self.found.append(_decoded(stored))
        return ANYTHING


def read(data: bytes) -> Record:
    """Return the Record that some bytes are.  Raise anything if it is none.
    """
    reader = _Reader(data)
    class_ = _class_of(reader.load())
    reader.load()
    return Record(class_, reader.found)


def _class_of(stored: Any) -> tuple[str, str] | None:
    # A class, or one with the arguments of its __new__.
    while isinstance(stored, tuple) and stored:
        if isinstance(stored[0], str):
            return stored[0], stored[1]
        stored = stored[0]
    return getattr(stored, 'of', None)


def _decoded(stored: Any) -> Reference:
    if isinstance(stored, tuple):
        oid, class_ = stored
        return Reference(oid, _class_of(class_))
    if not isinstance(stored, list):
        return Reference(_bytes(stored))
    if len(stored) == 1:
        # The weak references of earlier versions.
        return Reference(_bytes(stored[0]), is_weak=True)
    kind, value = stored
    if kind == 'w':
        database = value[1] if len(value) > 1 else None
        return Reference(_bytes(value[0]), None, database, is_weak=True)
    database, oid, *class_ = value
    return Reference(_bytes(oid), _class_of(class_[0]) if class_ else None,
                     database)


def _bytes(oid: Any) -> bytes:
    return oid.encode('latin-1') if isinstance(oid, str) else bytes(oid)


def rewritten(data: bytes, record: Record,
              replace: Callable[[Reference], Reference]) -> bytes:
    """Return the bytes of a record with other references.

    record -- what `read` has found in it.
    replace -- called with each Reference, returns another one.
    """
    if not record.references:
        return data
    todo = iter(record.references)
    parts, done = [], 0
    for position in _positions(data):
        # What is on top of the stack is thrown away: others may refer to it
        # by the memo, so it is made nevertheless.
        parts += [data[done:position], b'0', replace(next(todo)).encode()]
        done = position
    return b''.join([*parts, data[done:]])


def _positions(data: bytes) -> list[int]:
    """Return where the bytes have the opcodes that make references."""
    found: list[int] = []
    for name, position in _opcodes(data):
        if name == REFERENCE:
            found.append(position)
        elif name == 'FRAME':
            raise ValueError('The record has frames, which ZODB has not '
                             'written.')
    return found


def refers(data: bytes) -> bool:
    """Return whether bytes that `read` does not understand have references.

    Those that are no record have none: nobody can load them.
    """
    names = outcome_of(lambda: [name for name, _ in _opcodes(data)]).value
    return REFERENCE in (names or ())


def _opcodes(data: bytes) -> Iterator[tuple[str, int]]:
    """Yield the names of all opcodes, and where they are."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        for opcode, _, position in pickletools.genops(stream):
            assert position is not None
            yield opcode.name, position
