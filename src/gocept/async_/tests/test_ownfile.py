"""Only regular files of our own are opened by name."""

import os
import tempfile
import threading
import unittest
import unittest.mock
from pathlib import Path

from gocept.async_.worker.ownfile import NotOurs
from gocept.async_.worker.ownfile import is_at
from gocept.async_.worker.ownfile import open_own


class OwnFileTest(unittest.TestCase):

    def setUp(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = folder / 'file'
        self.other = folder / 'other'

    def open(self, flags=os.O_RDWR):
        descriptor = open_own(self.path, flags)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def assert_refused(self, regex):
        before = len(os.listdir('/dev/fd'))
        with self.assertRaisesRegex(NotOurs, regex):
            self.open()
        self.assertEqual(before, len(os.listdir('/dev/fd')))

    def test_file(self):
        """It is created, and opened the next time."""
        os.write(self.open(), b'x')
        self.assertEqual(b'x', os.read(self.open(), 10))

    def test_symbolic_link(self):
        """What one leads to is neither opened nor created."""
        self.path.symlink_to(self.other)
        self.assert_refused('symbolic link')
        self.assertFalse(self.other.exists())
        self.other.write_text('kept')
        self.assert_refused('symbolic link')

    def test_symbolic_link_at_the_last_moment(self):
        """Also if it was put there after a look."""
        self.path.symlink_to(self.other)
        with unittest.mock.patch('gocept.async_.worker.ownfile.check_own'), \
                self.assertRaises(OSError):
            self.open()
        self.assertFalse(self.other.exists())

    def test_hard_link(self):
        """A file has another name, somewhere."""
        self.other.write_text('kept')
        os.link(self.other, self.path)
        self.assert_refused('hard link')

    def test_hard_link_at_the_last_moment(self):
        """What is opened then is closed again."""
        self.other.write_text('kept')
        os.link(self.other, self.path)
        with unittest.mock.patch('gocept.async_.worker.ownfile.check_own'):
            self.assert_refused('hard link')

    def test_named_pipe(self):
        """One would make us wait for who reads it."""
        os.mkfifo(self.path)
        timer = threading.Timer(30, os._exit, [1])
        timer.start()
        self.assert_refused('no regular file')
        timer.cancel()
        timer.join()

    def test_folder_and_device(self):
        """A folder, or a device, is no file either."""
        self.path.mkdir()
        self.assert_refused('no regular file')
        with self.assertRaisesRegex(NotOurs, 'no regular file'):
            open_own('/dev/null', os.O_WRONLY)

    def test_file_of_another_user(self):
        """Somebody has been there before."""
        self.path.touch()
        ours = os.geteuid()
        with unittest.mock.patch.object(
                os, 'geteuid', return_value=ours + 1):
            self.assert_refused(f'another user .id {ours}')

    def test_no_folder(self):
        """Other errors are those of the system."""
        with self.assertRaises(FileNotFoundError):
            open_own(self.path / 'file', os.O_RDWR)

    def test_is_at(self):
        """The path may have another file by now, or none."""
        descriptor = self.open()
        self.assertTrue(is_at(self.path, descriptor))
        self.path.rename(self.other)
        self.assertFalse(is_at(self.path, descriptor))
        self.path.symlink_to(self.other)
        self.assertFalse(is_at(self.path, descriptor))
