"""What can be told of a stored object whose state cannot be loaded.

After a deploy, a class may not take what it has stored.  Then its object
cannot be loaded, nor any that holds it.  Here a record is read with stand-ins
in place of all objects, and no code of their classes is called.
"""

import functools
import io
import itertools

import zodbpickle.pickle
from ZODB import broken

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import is_of_database


# What is used to make objects; no class of an application is meant by it.
_TOOLS = ('builtins', '__builtin__', 'copyreg', 'copy_reg')


def state(stored, known=None):
    """Return the state of a persistent object; None if it cannot be read.

    stored -- need not be loaded, and is not.
    known -- classes that may be called, by module and name.

    What is not a number, a text or a container is a stand-in, see
    `class_names`; its repr tells the class.  A persistent object is one that
    tells class and oid.
    """
    read = outcome_of(lambda: _load(_data(stored), _finder(known or {})))
    if read.failed and is_of_database(read):
        raise read.exception
    return read.value


def unloadable(stored):
    """Return the names of the classes because of which a state is not loaded.

    A list of str, ``module.name``.  Calls code of the classes.
    """
    found = outcome_of(_data, stored)
    if found.failed:
        # The storage does not give the record, so there is nothing to look at.
        return []
    names = set()
    outcome_of(_load, found.value,
            lambda *name: names.add(name) or _stand_in(*name))
    names = sorted(name for name in names if name[0] not in _TOOLS)
    # Where a class is gone, others may fail only because of that: the blame is
    # on what is gone.
    to_blame = [name for name in names if _is_gone(*name)]
    if not to_blame and outcome_of(
            _load, found.value, broken.find_global).failed:
        to_blame = [name for name in names if not outcome_of(
            _load, found.value, _without(*name)).failed]
    return ['.'.join(name) for name in to_blame]


def _is_gone(module, name):
    found = outcome_of(broken.find_global, module, name)
    return found.failed or (isinstance(found.value, type)
                            and issubclass(found.value, broken.Broken))


def class_names(value):
    """Return the names of the classes that have stand-ins in a value.

    A set of str, ``module.name``.
    """
    names, seen, todo = set(), set(), [value]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += itertools.chain(value.keys(), value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            todo += value
        elif isinstance(value, _StandIn):
            names.add(type(value).stands_for)
            todo += value.parts
        elif isinstance(value, type) and issubclass(value, _StandIn):
            names.add(value.stands_for)
    return {f'{module}.{name}' for module, name in names
            if module not in _TOOLS}


def _data(stored):
    """Return the record of a persistent object, as its connection sees it."""
    data, _ = stored._p_jar._storage.load(stored._p_oid)
    return data


def _load(data, find_class):
    """Return the state in a record.  Raise anything."""
    unpickler = _Unpickler(data, find_class)
    # A record has two pickles: first the class of the object itself, then its
    # state.
    unpickler.load()
    return unpickler.load()


def _without(module, name):
    """Return a function that finds all classes but one."""
    def find(*found):
        if found == (module, name):
            return _stand_in(*found)
        return broken.find_global(*found)
    return find


def _finder(known):
    """Return a function that finds the known classes, and stand-ins else."""
    def find(*name):
        return known[name] if name in known else _stand_in(*name)
    return find


# To make a class takes longer than to read a record.
@functools.lru_cache(maxsize=1000)
def _stand_in(module, name):
    return type('StandIn', (_StandIn,), {'stands_for': (module, name)})


class _StandIn:
    """Takes whatever a pickle does with an object, and keeps it."""

    def __new__(cls, *parts, **named):
        made = super().__new__(cls)
        made.parts = [*parts, named]
        return made

    def __init__(self, *parts, **named):
        """Do not pass on what __new__ has got."""

    def __setstate__(self, state):
        self.parts.append(state)

    def append(self, item):
        self.parts.append(item)

    add = append

    def extend(self, items):
        self.parts.extend(items)

    def __setitem__(self, key, item):
        self.parts += [key, item]

    def __repr__(self):
        return f'<{".".join(self.stands_for)}>'


class _Unpickler(zodbpickle.pickle.Unpickler):

    def __init__(self, data, find_class):
        super().__init__(io.BytesIO(data))
        self._find = find_class

    def find_class(self, module, name):
        return self._find(module, name)

    def persistent_load(self, reference):
        return _Reference(reference)


class _Reference:
    """Stands for a persistent object, which has a record of its own.

    reference -- as ZODB writes it: an oid; a pair of that and the class; or,
        of another database, a list that ends in what tells both.
    """

    def __init__(self, reference):
        self.reference = reference

    def __repr__(self):
        found = self.reference
        if isinstance(found, list):
            found = found[-1][-2:] if isinstance(found[-1], tuple) else found
        oid, class_ = found if isinstance(found, tuple) else (found, None)
        name = ('.'.join(class_.stands_for)
                if isinstance(class_, type) and issubclass(class_, _StandIn)
                else 'persistent object')
        number = oid.hex().lstrip('0') if isinstance(oid, bytes) else '?'
        return f'<{name} at oid 0x{number or "0"}>'
