"""One worker at a time holds a pid file, and only that is told to reload."""

import contextlib
import fcntl
import os
import resource
import signal
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from gocept.async_.worker import pidfile
from gocept.async_.worker.pidfile import PidFile
from gocept.async_.worker.pidfile import PidFileError
from gocept.async_.worker.pidfile import signal_holder


def hold(path, say, wait):
    """Hold a pid file, as a worker does."""
    with PidFile(path) as file:
        file.keep()
        say('held')
        wait()


def lock_by(call):
    """Return a function that locks all of a file, as others do."""
    def lock(path, say, wait):
        with open(path, 'r+') as file:
            call(file, fcntl.LOCK_EX)
            say('held')
            wait()
    return lock


def come_and_go(path, say, wait):
    """Hold a pid file for moments, and see that nobody else does."""
    say('held')
    seen = 0
    while seen < 200:
        with contextlib.suppress(PidFileError), PidFile(path):
            os.close(os.open(f'{path}.in', os.O_CREAT | os.O_EXCL))
            os.unlink(f'{path}.in')
            seen += 1
    say('alone')


class Fork:
    """A process that holds a file, and tells of the signals that it gets."""

    def __init__(self, path, do):
        self._told, told = os.pipe()
        wait, self._end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._end)
            self._run(path, do, told, wait)
        os.close(told)
        os.close(wait)

    def _run(self, path, do, told, wait):
        def say(text):
            os.write(told, f'{text}\n'.encode())
        signal.signal(signal.SIGHUP, lambda *args: say('told'))
        try:
            do(path, say, lambda: os.read(wait, 1))
        finally:
            os._exit(0)

    def told(self):
        """Return the next line of what it tells; empty if it has ended."""
        line = b''
        while not line.endswith(b'\n') and (
                found := os.read(self._told, 1)):
            line += found
        return line.decode()

    def kill(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def end(self):
        """Let it end.  Return what it has told until then."""
        if self.pid is None:
            return ''
        os.close(self._end)
        lines = []
        while line := self.told():
            lines.append(line)
        os.waitpid(self.pid, 0)
        os.close(self._told)
        self.pid = None
        return ''.join(lines)


class PidFileCase(unittest.TestCase):

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.folder / 'pid'

    def start(self, do=hold, path=None):
        """Start a process that holds the file."""
        process = Fork(path or self.path, do)
        self.addCleanup(process.kill)
        self.assertEqual('held\n', process.told())
        return process

    def assert_refused(self, regex):
        before = len(os.listdir('/dev/fd'))
        with self.assertRaisesRegex(PidFileError, regex), \
                PidFile(self.path):
            self.fail('nobody can have come here')
        self.assertEqual(before, len(os.listdir('/dev/fd')))

    def assert_nobody_told(self, regex):
        with self.assertRaisesRegex(PidFileError, regex):
            signal_holder(self.path, signal.SIGHUP)


class OwnershipTest(PidFileCase):

    def test_life(self):
        """It is there, with the id, as long as it is held."""
        with PidFile(self.path) as file:
            file.keep()
            file.keep()
            self.assertEqual(f'{os.getpid()}\n', self.path.read_text())
        self.assertFalse(self.path.exists())

    def test_held(self):
        """A second worker is refused; what is in the file stays."""
        process = self.start()
        self.assert_refused('another worker uses the file')
        self.assertEqual(f'{process.pid}\n', self.path.read_text())

    def test_left_behind(self):
        """The file of one that was killed is taken over."""
        process = self.start()
        process.kill()
        self.assertTrue(self.path.exists())
        with PidFile(self.path) as file:
            file.keep()
            self.assertEqual(f'{os.getpid()}\n', self.path.read_text())

    def test_removed_between_opening_and_locking(self):
        """A file without a name is not ours: the next one has another."""
        lock = pidfile._lock
        descriptors = []

        def remove_and_lock(descriptor):
            if not descriptors:
                self.path.unlink()
            descriptors.append(descriptor)
            return lock(descriptor)
        with unittest.mock.patch.object(pidfile, '_lock', remove_and_lock), \
                PidFile(self.path) as file:
            file.keep()
            self.assertEqual(2, len(descriptors))
            self.assertEqual(f'{os.getpid()}\n', self.path.read_text())

    def test_replaced_without_end(self):
        """It does not try for ever."""
        before = len(os.listdir('/dev/fd'))
        with unittest.mock.patch.object(
                pidfile, 'is_at', return_value=False):
            self.assert_refused('replaced by others again and again')
        self.assertEqual(before, len(os.listdir('/dev/fd')))

    def test_removed_while_it_is_held(self):
        """Something has cleaned up: the file comes back, and is held."""
        with PidFile(self.path) as file:
            file.keep()
            self.path.unlink()
            file.keep()
            process = Fork(self.path, hold)
            self.addCleanup(process.kill)
            self.assertEqual('', process.told())
            # Not earlier: who closes it in this process gives up the lock.
            self.assertEqual(f'{os.getpid()}\n', self.path.read_text())
        self.assertFalse(self.path.exists())

    def test_replaced_while_it_is_held(self):
        """What somebody has put there is not overwritten; it is said."""
        with PidFile(self.path) as file:
            file.keep()
            self.path.unlink()
            self.path.write_text('kept')
            with self.assertRaisesRegex(PidFileError, 'another file is in'):
                file.keep()
        self.assertEqual('kept', self.path.read_text())

    def test_file_of_the_next_one(self):
        """Who ends does not remove what is not its own any more."""
        with PidFile(self.path) as file:
            file.keep()
            self.path.unlink()
            process = self.start()
        self.assertEqual(f'{process.pid}\n', self.path.read_text())

    def test_link_in_its_place(self):
        """Nor what a link that is there now leads to, nor the link."""
        kept = self.folder / 'kept'
        kept.write_text('kept')
        with PidFile(self.path):
            self.path.unlink()
            self.path.symlink_to(kept)
        self.assertEqual('kept', self.path.read_text())

    def test_folder_is_gone(self):
        """To end is possible without the file."""
        folder = self.folder / 'run'
        folder.mkdir()
        self.path = folder / 'pid'
        with PidFile(self.path):
            self.path.unlink()
            folder.rmdir()

    def test_cannot_be_removed(self):
        """It is said, and that is all."""
        with self.assertLogs('gocept.async_.worker.pidfile') as logged, \
                unittest.mock.patch.object(
                    os, 'unlink', side_effect=PermissionError(13, 'no')), \
                PidFile(self.path):
            pass
        self.assertIn('cannot remove', logged.output[0])

    def test_full_disk(self):
        """It is held nevertheless, and written when there is room."""
        with PidFile(self.path) as file:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            try:
                with self.assertRaises(OSError):
                    file.keep()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            self.assertFalse(file.written)
            file.keep()
            self.assertEqual(f'{os.getpid()}\n', self.path.read_text())

    def test_something_else(self):
        """A file with other content was named by mistake; it stays."""
        self.path.write_text('<zodb>\n')
        self.assert_refused('something else than the id of a process')
        self.assertEqual('<zodb>\n', self.path.read_text())

    def test_something_else_that_begins_like_an_id(self):
        """What comes late in a file is content as well."""
        for begin in (' ' * 200, '\n' * 100, '1' * 150, '12' + ' ' * 98,
                      '12' + '\n' * 4096, '\t' * 33):
            with self.subTest(begin[:3]):
                self.path.write_text(f'{begin}\nkept\n')
                self.assert_refused('something else than the id of a process')
                self.assertEqual(f'{begin}\nkept\n', self.path.read_text())

    def test_too_many_digits(self):
        """A number that long is none of a process."""
        self.path.write_text('3' * 100)
        self.assert_refused('something else than the id of a process')

    def test_not_ours(self):
        """No link is followed; nor is anything else opened."""
        kept = self.folder / 'kept'
        kept.write_text('1\n')
        self.path.symlink_to(kept)
        self.assert_refused('symbolic link; remove it, or choose')
        self.assertEqual('1\n', kept.read_text())
        self.path.unlink()
        os.mkfifo(self.path)
        self.assert_refused('no regular file; remove it, or choose')

    def test_no_folder(self):
        """Where it cannot be, nobody can hold it."""
        self.path = self.folder / 'missing' / 'pid'
        self.assert_refused('No such file.*choose another file')


class ReloadTest(PidFileCase):

    def test_worker(self):
        """Who holds the file is told, whatever is written in it."""
        process = self.start()
        self.path.write_text('1\n')
        signal_holder(self.path, signal.SIGHUP)
        self.assertEqual('told\n', process.told())
        self.assertEqual('', process.end())

    def test_without_pidfd(self):
        """Where the system has no handles of processes, too."""
        process = self.start()
        for error in AttributeError, PermissionError:
            with unittest.mock.patch.object(
                    os, 'pidfd_open', create=True, side_effect=error):
                signal_holder(self.path, signal.SIGHUP)
            self.assertEqual('told\n', process.told())

    def test_killed(self):
        """The one that was left behind by a killed worker is nobody's."""
        process = self.start()
        process.kill()
        self.path.write_text(f'{os.getpid()}\n')
        self.assert_nobody_told('no worker uses the file')

    def test_other_process_with_a_lock(self):
        """A program that has locked its own pid file is no worker."""
        for call in fcntl.flock, fcntl.lockf:
            with self.subTest(call):
                self.path.write_text('')
                process = self.start(lock_by(call))
                self.path.write_text(f'{process.pid}\n')
                self.assert_nobody_told('no worker uses the file')
                self.assertEqual('', process.end())

    def test_other_process_in_the_content(self):
        """Somebody writes the id of another process into the file."""
        process = self.start()
        other = self.start(path=self.folder / 'other')
        self.path.write_text(f'{other.pid}\n')
        signal_holder(self.path, signal.SIGHUP)
        self.assertEqual('told\n', process.told())
        self.assertEqual('', other.end())

    def test_elsewhere(self):
        """The number of a process in another container means nothing here.
        """
        self.path.touch()
        for pid in 0, -1234:
            with unittest.mock.patch.object(
                    pidfile, 'find_holder', return_value=pid):
                self.assert_nobody_told('another machine or in a container')

    def test_ends_meanwhile(self):
        """Its number may be that of another process by now."""
        self.path.touch()
        with unittest.mock.patch.object(
                pidfile, 'find_holder', side_effect=[os.getpid(), None]):
            self.assert_nobody_told('it has just ended')

    def test_not_ours(self):
        """No link is followed, and no pipe waited for."""
        process = self.start()
        path, self.path = self.path, self.folder / 'link'
        self.path.symlink_to(path)
        self.assert_nobody_told('cannot read')
        self.path.unlink()
        os.mkfifo(self.path)
        self.assert_nobody_told('no regular file')
        self.assertEqual('', process.end())

    def test_nothing(self):
        """A file that is not there names no worker."""
        self.assert_nobody_told('cannot read .*--pid-file')


class LockTest(PidFileCase):

    def test_cannot_be_locked(self):
        """Some disks know no locks."""
        with unittest.mock.patch.object(
                fcntl, 'lockf', side_effect=OSError(37, 'No locks')):
            self.assert_refused('cannot be locked: No locks')

    def test_many_at_once(self):
        """Of several that begin and end all the time, one at a time has it.
        """
        processes = [self.start(come_and_go) for _ in range(3)]
        self.assertEqual(
            ['alone\n'] * 3, [process.told() for process in processes])
