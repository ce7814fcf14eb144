"""Files by which the worker tells others of itself, in folders of others."""

import contextlib
import errno
import os
import stat


class NotOurs(OSError):
    """Somebody else's file, or something else than a file, has the name."""


def open_own(path: str, flags: int) -> int:
    """Open a file of our own, or create it.  Return its descriptor.

    In a folder where others may write, such as /tmp, somebody may have put
    something there that we would be led to change.  No symbolic link is
    followed, and nothing is opened that might make us wait.

    flags -- how to open it, see `os.open`.

    Raise NotOurs, or any other OSError.
    """
    check_own(path)
    descriptor = os.open(
        path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        # The file that was opened is checked once more: it may have been put
        # there after the first look.
        _check(os.fstat(descriptor))
        stack.pop_all()
    return descriptor


def check_own(path: str) -> None:
    """Raise NotOurs if a path has what is not a file of our own."""
    with contextlib.suppress(FileNotFoundError):
        _check(os.lstat(path))


def _check(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        _refuse('it is a symbolic link')
    if not stat.S_ISREG(found.st_mode):
        _refuse('it is no regular file')
    if found.st_uid != os.geteuid():
        _refuse(f'it belongs to another user (id {found.st_uid})')
    if found.st_nlink > 1:
        _refuse('it has another name, too (a hard link)')


def _refuse(reason: str) -> None:
    raise NotOurs(errno.EPERM, reason)


def is_at(path: str, descriptor: int) -> bool:
    """Return whether an open file is the one that has a path."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))
