"""The file that names the process of a worker, and who holds it.

What counts is a lock on it, which ends with its process, and of which the
system tells who has it.  What is written in the file is for others to read.
"""

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import sys

from gocept.async_.worker.ownfile import NotOurs
from gocept.async_.worker.ownfile import is_at
from gocept.async_.worker.ownfile import open_own
from lovely.remotetask.foreign.journal import journal


log = journal(__name__)

# The byte that is locked.  Others lock whole files, or their first bytes: who
# has exactly this one is a worker.
BYTE = int.from_bytes(b'async', 'big')

# Bytes that the id of a process may have, with blanks around it.
LONGEST = 32

# How often a file is opened whose name is given to another one meanwhile.
ATTEMPTS = 10

# How a `struct flock` is laid out on this system.
if sys.platform == 'linux':
    LAYOUT = 'hhqqi4x'
    FIELDS = ('type', 'whence', 'start', 'length', 'pid')
else:
    LAYOUT = 'qqihhi'
    FIELDS = ('start', 'length', 'pid', 'type', 'whence', 'system')


class PidFileError(Exception):
    """The file cannot be used; the message says why, and what to do."""


class PidFile:
    """A file with the id of this process, while the context is entered.

    Nobody else who does this with the same path has it at the same time.
    Nothing else in this process may open the file: whoever closes it gives up
    the lock.

    written -- whether the id is in the file: the disk may be full.
    """

    def __init__(self, path):
        self._path = path
        self._descriptor = None
        self.written = False

    def __enter__(self):
        for _ in range(ATTEMPTS):
            self._descriptor = self._open()
            # The worker that had the file may have removed it since it was
            # opened.
            if is_at(self._path, self._descriptor):
                return self
            os.close(self._descriptor)
        raise PidFileError(
            f'{self._path} is replaced by others again and again; choose '
            f'another file with --pid-file.')

    def _open(self):
        """Return the descriptor of the file, which is locked."""
        try:
            descriptor = open_own(self._path, os.O_RDWR)
        except OSError as error:
            advice = 'remove it, or ' if isinstance(error, NotOurs) else ''
            raise PidFileError(
                f'cannot write {self._path}: {error.strerror}; {advice}'
                f'choose another file with --pid-file.') from error
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            if not _lock(descriptor):
                raise PidFileError(
                    f'another worker uses the file {self._path}; stop that '
                    f'one, or choose another file with --pid-file.')
            if not _is_pid(os.pread(descriptor, LONGEST + 1, 0)):
                raise PidFileError(
                    f'{self._path} holds something else than the id of a '
                    f'process; choose another file with --pid-file.')
            stack.pop_all()
        return descriptor

    def keep(self):
        """See that the file is there, with the id of this process.

        What cleans up folders may have removed it.  Raise OSError or
        PidFileError if that cannot be done now.
        """
        if not is_at(self._path, self._descriptor):
            self._replace()
        if not self.written:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b'%d\n' % os.getpid(), 0)
            self.written = True

    def _replace(self):
        if os.path.lexists(self._path):
            raise PidFileError(
                f'another file is in the place of {self._path}; --reload '
                f'does not reach this worker any more.')
        new = self._open()
        # The old file is closed only now, so that nobody else can lock it in
        # between.
        os.close(self._descriptor)
        self._descriptor = new
        self.written = False

    def __exit__(self, *error):
        # The file is removed before the lock goes: whoever gets the lock then
        # sees that the file has no name any more.
        try:
            if is_at(self._path, self._descriptor):
                os.unlink(self._path)
        except OSError as found:
            log.warning('cannot remove %s: %s', self._path, found.strerror)
        os.close(self._descriptor)


def _lock(descriptor):
    """Take the lock.  Return whether nobody else has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, BYTE)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise PidFileError(
            f'the file of --pid-file cannot be locked: {error.strerror}; '
            f'choose one on a disk of this machine.') from error
    return True


def _is_pid(content):
    return len(content) <= LONGEST and (
        not content.strip() or content.strip().isdigit())


def find_holder(descriptor):
    """Return the id of the worker that holds an open pid file, or None.

    0, or a negative number, if it is on another machine or in a container.
    """
    asked = dict.fromkeys(FIELDS, 0)
    asked.update(type=fcntl.F_WRLCK, whence=os.SEEK_SET, start=BYTE, length=1)
    answer = fcntl.fcntl(
        descriptor, fcntl.F_GETLK, struct.pack(LAYOUT, *asked.values()))
    found = dict(zip(FIELDS, struct.unpack(LAYOUT, answer), strict=True))
    if (found['type'] != fcntl.F_WRLCK
            or (found['start'], found['length']) != (BYTE, 1)):
        return None
    return found['pid']


def signal_holder(path, number):
    """Send a signal to the worker that holds a pid file.

    Raise PidFileError if there is none, or it cannot be reached.
    """
    with _opened(path) as descriptor:
        pid = find_holder(descriptor)
        if pid is None:
            # A worker that was killed may have left the file behind.
            raise PidFileError(
                f'no worker uses the file {path}; start one with '
                f'--pid-file.')
        if pid <= 0:
            raise PidFileError(
                f'the worker that uses the file {path} is on another machine '
                f'or in a container; do it there.')
        try:
            _send(descriptor, pid, number)
        except OSError as error:
            raise PidFileError(
                f'process {pid} cannot be told: {error.strerror}; do it as '
                f'the user that runs the worker.') from error


@contextlib.contextmanager
def _opened(path):
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            | os.O_CLOEXEC)
    except OSError as error:
        raise PidFileError(
            f'cannot read {path}: {error.strerror}; name the file that the '
            f'worker was given by --pid-file.') from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PidFileError(
                f'{path} is no regular file; name the file that the worker '
                f'was given by --pid-file.')
        yield descriptor
    finally:
        os.close(descriptor)


def _send(descriptor, pid, number):
    process = _open_process(pid)
    if process is None:
        os.kill(pid, number)
        return
    try:
        # Another process may have got its number since we asked.
        if find_holder(descriptor) != pid:
            raise ProcessLookupError(errno.ESRCH, 'it has just ended')
        signal.pidfd_send_signal(process, number)
    finally:
        os.close(process)


def _open_process(pid):
    """Return a descriptor of a process; None if the system has no such."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        # The call also fails where a container does not allow what it does not
        # know.
        return None
