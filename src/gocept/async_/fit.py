"""Whether a stored call fits the code that is installed.

It was stored by other code, maybe: functions are renamed and move, classes go
or get other attributes.  A call that does not fit is not made, and says why.
"""

import functools
import inspect
import math

import persistent
from ZODB.broken import Broken

from gocept.async_ import lookup
from gocept.async_.argument import resolve
from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign import record
from lovely.remotetask.foreign import reference
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.twin import CAUSE
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.running.server import server
from lovely.remotetask.task import TaskError


# How many persistent objects among the arguments are loaded before a call.
LOADED_FIRST = 100

# What a TaskDescription has itself; any other attribute is an annotation.
ATTRIBUTES = {'_f', 'args', 'kwargs', 'principal', 'principals', 'refers',
              'site'}

# What a stored call must be able to tell: an attribute, its class, and what it
# says.  Only the keyword arguments need not be stored.
PARTS = (('_f', str, 'of which function it is'),
         ('args', tuple, 'with which arguments it is'),
         ('kwargs', dict, 'with which keyword arguments it is'))

ADVICE = 'install the code that the call was stored with, and requeue the job'


def find_call(description, service):
    """Return the call that is described, to be called without arguments.

    description -- a TaskDescription.
    service -- the ITaskService that has its job.

    Raise CannotRun if the installed code cannot make it.
    """
    # The attributes of a description are slow: each asks whether it may be
    # read before the object is loaded.
    state = _loaded_state(description)
    name = lookup.current_name(state['_f'])
    function = _find_function(name, description)
    args, kwargs = state['args'], state['kwargs']
    if not surely_takes(function, args, kwargs):
        try:
            _signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise CannotRun(
                f'{name!r} does not take the stored arguments any more: '
                f'{error}.') from error
    _check_arguments(function, description, args, kwargs)
    for key in state:
        if key not in ATTRIBUTES:
            _check_whole(f'{key!r} of the call', state[key])
    if state.get('refers'):
        args, kwargs = resolve(args, kwargs, service)
    return functools.partial(function, *args, **kwargs)


def _loaded_state(description):
    """Return what is stored of a call (dict), with its function, arguments."""
    loaded = reference.load(description)
    if loaded.failed:
        _raise_unfit(loaded, description, lambda: _what_is_unloadable(
            description))
    state = {'kwargs': {}, **vars(description)}
    for name, class_, said in PARTS:
        if type(state.get(name)) is not class_:
            raise CannotRun(
                f'The call does not say {said}; cancel the job, and call the '
                f'function again.')
    return state


def find_site(description, service):
    """Return the site of a call, see IApplicationServer; it is there.

    Raise TaskError if it was removed, CannotRun if it cannot be loaded.
    """
    found = description.site
    if found is None:
        return None
    # Of a persistent object the class alone is looked at.
    if issubclass(type(found), Broken):
        _check_whole('The site of the call', found)
    reached = outcome_of(server().is_reachable, found, service)
    if reached.failed:
        _raise_unfit(reached, description, lambda: 'The site of the call')
    if not reached.value:
        raise TaskError(
            'The site in which the function was called is gone; it is not '
            'run in another one.')
    return found


def _raise_unfit(failure, description, what):
    """Raise CannotRun for something that cannot be loaded.

    what -- called without arguments, says what that is.

    What says nothing of the installed code is raised as it is.
    """
    jar = description._p_jar
    if value.is_of_database(failure) or jar is not None and (
            blame.is_interrupted(failure.exception, jar.db())):
        raise failure.exception
    raise CannotRun(
        f'{what()} cannot be loaded: {value.reason(failure)}; {ADVICE}.'
    ) from failure.exception


def _find_function(name, description):
    """Return a function, as it was before it was decorated."""
    found = outcome_of(lookup.find_function, name)
    if not found.failed:
        return found.value.undecorated
    cause = CAUSE.__get__(found.exception)
    if cause is not None and description._p_jar is not None and (
            blame.is_interrupted(cause, description._p_jar.db())):
        raise cause
    if not found.is_a(LookupError):
        raise found.exception
    raise CannotRun(found.error) from found.exception


_signature = functools.lru_cache(inspect.signature)


@functools.lru_cache
def _numbers(function):
    """Return how many positional arguments a function takes, from and to.

    Both are infinite for a function that needs others, too.
    """
    parameters = _signature(function).parameters.values()
    if any(each.kind is each.KEYWORD_ONLY and each.default is each.empty
           for each in parameters):
        return math.inf, math.inf
    positional = [each for each in parameters if each.kind in (
        each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return (sum(each.default is each.empty for each in positional),
            math.inf if takes_any else len(positional))


def surely_takes(function, args, kwargs):
    """Return whether a function takes arguments, if that is told fast."""
    least, most = _numbers(function)
    return not kwargs and least <= len(args) <= most


# Arguments

def _check_arguments(function, description, args, kwargs):
    """Raise CannotRun if arguments cannot be used."""
    if not all(map(value.is_small, (*args, *kwargs.values()))):
        _check_large_arguments(function, description, args, kwargs)


def _check_large_arguments(function, description, args, kwargs):
    for name, each in _named(_signature(function), args, kwargs):
        if value.is_small(each):
            continue
        _check_whole(name, each)
        for found in _persistent_objects(each):
            loaded = reference.load(found)
            if loaded.failed:
                _raise_unfit(loaded, description, lambda name=name: name)


def _check_whole(what, each):
    """Raise CannotRun if objects in a value are of classes that are gone."""
    gone = value.broken(each)
    if gone:
        verb = 'is' if issubclass(type(each), Broken) else 'holds an object'
        raise CannotRun(
            f'{what} {verb} of the class {", ".join(gone)}, which is gone; '
            f'{ADVICE}.')


def _what_is_unloadable(description):
    """Return which part of a call cannot be loaded (str)."""
    name = description.function_name
    call = f'The call of {name!r}'
    unloadable = set(record.unloadable(description))
    state = record.state(description)
    found = outcome_of(lambda: _named(
        _signature(_find_function(lookup.current_name(name), description)),
        state['args'], state.get('kwargs', {})))
    if found.failed:
        found = outcome_of(
            lambda: _named(None, state['args'], state.get('kwargs', {})))
    for argument, each in found.value or ():
        classes = unloadable & record.class_names(each)
        if classes:
            return (f'{call}: {argument} is of the class '
                    f'{", ".join(sorted(classes))}, which')
    return f'{call} ({", ".join(sorted(unloadable))})' if unloadable else call


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
