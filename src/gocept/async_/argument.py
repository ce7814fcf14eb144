"""Take the arguments of a call as they are, or say why that cannot be."""

import functools

from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.policy import Policy
from lovely.remotetask.running.server import server
from lovely.remotetask.task import TaskError


# How many bytes the arguments may take where a service has no policy.
MAX_SIZE = Policy().max_size


class Reference:
    """What is stored of an argument that is not stored itself.

    opaque -- see IApplicationServer.reference.
    """

    def __init__(self, opaque):
        self.opaque = opaque


def refer(args, kwargs):
    """Return the arguments, with References where the server needs them.

    The arguments themselves; not what is in a list, say.
    """
    return (tuple(map(_referred_to, args)),
            {name: _referred_to(each) for name, each in kwargs.items()})


def _referred_to(argument):
    if value.is_small(argument):
        return argument
    opaque = server().reference(argument)
    return argument if opaque is None else Reference(opaque)


def has_references(args, kwargs):
    """Return whether there are References among stored arguments."""
    return any(type(each) is Reference for each in (*args, *kwargs.values()))


def resolve(args, kwargs, service):
    """Return stored arguments, with the objects of References.

    Raise TaskError if one of these is gone.
    """
    return ([_resolved(each, service) for each in args],
            {name: _resolved(each, service) for name, each in kwargs.items()})


def _resolved(argument, service):
    if type(argument) is not Reference:
        return argument
    found = outcome_of(server().referred, argument.opaque, service)
    if found.failed and value.is_of_database(found):
        raise found.exception
    if found.failed:
        raise TaskError(
            f'An object that the call was made with cannot be found any '
            f'more: {value.reason(found)}.') from found.exception
    return found.value


def are_small(args, kwargs, limit=value.SMALL):
    """Return whether arguments are their own copies, and within a limit.

    limit -- int, bytes; by default one that is no service's to forbid.
    """
    # Each may be as large as its part of what is allowed.
    part = limit // (len(args) + len(kwargs) or 1)
    return all(value.is_small(each, part)
               for each in (*args, *kwargs.values()))


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
    if are_small(args, kwargs, max_size):
        return args, kwargs
    named = [(f'argument {number}', each)
             for number, each in enumerate(args, 1)]
    named += [(f'argument {name!r}', each) for name, each in kwargs.items()]
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
