"""Take the arguments of a call as they are, or say why that cannot be."""

import functools

from lovely.remotetask.foreign import value


# That of a service that does not say it, in bytes.
MAX_SIZE = 10_000_000


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
