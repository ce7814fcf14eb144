"""Take the arguments of a call as they are, or say why that cannot be."""

import functools
import inspect

import persistent
from ZODB.broken import Broken

from lovely.remotetask import record
from lovely.remotetask import value
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.outcome import attempt


# That of a policy that does not say it, in bytes.
MAX_SIZE = 10_000_000

# How many persistent objects among the arguments are loaded before a call.
LOADED_FIRST = 100


def copy_arguments(connection, args, kwargs, max_size=MAX_SIZE, found=None):
    """Return copies of the arguments, as they would be read back.

    connection -- of the persistent object they will be stored under, or None.
    max_size -- how many bytes they may take together.
    found -- called with each persistent object among them, once all are
        found to be good.

    A copy, because the caller may change a list after the call.  Persistent
    objects are not copied: they are stored by reference.

    Raise TypeError if an argument cannot be stored, ValueError if they are
    too large.
    """
    named = [(f'argument {number}', each)
             for number, each in enumerate(args, 1)]
    named += [(f'argument {name!r}', each) for name, each in kwargs.items()]
    # Each may be as large as its part of what is allowed.
    limit = max_size // (len(named) or 1)
    if all(value.is_small(each, limit) for _, each in named):
        return args, kwargs
    copy = functools.partial(
        value.copy, connection=connection, limit=max_size)
    try:
        # All at once, so that what they share is shared by the copies.
        return copy((args, kwargs), what='the list of arguments', found=found)
    except (TypeError, ValueError):
        for name, each in named:
            # Raises the same, with the name of the one that is to blame.
            copy(each, what=name)
        raise


def check_arguments(signature, args, kwargs):
    """Raise CannotRun if arguments that were stored cannot be used.

    signature -- that of the function.
    """
    if all(value.is_small(each) for each in (*args, *kwargs.values())):
        return
    for name, each in _named(signature, args, kwargs):
        gone = value.broken(each)
        if gone:
            is_of = ('is' if issubclass(type(each), Broken)
                     else 'holds an object')
            raise CannotRun(
                f'{name} {is_of} of the class {", ".join(gone)}, which is '
                f'gone; bring it back, and queue the job again.')
        for loaded in map(_load, _persistent_objects(each)):
            if loaded.failed:
                raise CannotRun(
                    f'{name} cannot be loaded: {value.reason(loaded)}.'
                ) from loaded.exception


def complaint(description, signature):
    """Return which stored arguments cannot be loaded, and why not (str).

    description -- a persistent object with `args` and `kwargs` that cannot be
        loaded.
    signature -- that of the function; None if that is not found.
    """
    state = record.state(description)
    unloadable = set(record.unloadable(description))
    named = attempt(lambda: _named(
        signature, state['args'], state['kwargs'])).value or []
    for name, each in named:
        if classes := unloadable & record.class_names(each):
            return f'{name} is of the class {", ".join(sorted(classes))}'
    return ', '.join(sorted(unloadable))


def _named(signature, args, kwargs):
    """Return pairs: what to call an argument, and the argument."""
    names = [] if signature is None else [
        repr(name) for name, parameter in signature.parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY,
                              inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    names = names[:len(args)]
    names += range(len(names) + 1, len(args) + 1)
    return [(f'argument {name}', each)
            for name, each in [*zip(names, args, strict=True),
                               *((repr(key), kwargs[key]) for key in kwargs)]]


def _load(stored):
    """Return an Outcome: whether a persistent object can be loaded."""
    loaded = attempt(stored._p_activate)
    if loaded.failed and value.is_of_database(loaded):
        raise loaded.exception
    return loaded


def _persistent_objects(of):
    """Return the persistent objects in a value and its containers.

    Not more than are worth to be loaded before the function asks for them.
    """
    found, seen, todo = [], set(), [of]
    while todo and len(found) < LOADED_FIRST:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if issubclass(type(each), persistent.Persistent):
            found.append(each)
        elif type(each) is dict:
            todo += [*each.keys(), *each.values()]
        elif type(each) in (list, tuple, set, frozenset):
            todo += each
    return found
