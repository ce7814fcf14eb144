"""Commands that write to a database whose disk is full."""

import errno
import unittest.mock

from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError

from gocept.async_.tests.test_move import MoveCase
from gocept.async_.tests.test_upgradecommand import CommandCase
from gocept.async_.upgrade import slices


NUMBERS = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS


class MoveTest(MoveCase):

    def test_refused(self):
        """The command says so, and nothing is moved."""
        self.fill()
        before = self.told()
        for number in NUMBERS:
            with self.subTest(errno.errorcode[number]), \
                    self.failing(OSError(number, 'no room')):
                self.assertEqual('', self.move('jobs', code=3))
                self.assertIn('cannot be worked with: ', self.complaints_text)
                self.assertIn('no room', self.complaints_text)
                self.assertEqual(self.content_name, self.is_in())
        self.move('jobs')
        self.assertEqual(before, self.told())

    def test_read_only(self):
        """What has no message is told by its class."""
        with self.failing(ReadOnlyError()):
            self.move('jobs', code=3)
        self.assertIn('ReadOnlyError', self.complaints_text)

    def test_other_errors(self):
        """A fault of the code is shown as it is."""
        with self.failing(FileNotFoundError(errno.ENOENT, 'nothing there')), \
                self.assertRaises(FileNotFoundError):
            self.move('jobs')

    @property
    def complaints_text(self):
        return self.complaints.getvalue()

    def failing(self, exception):
        store = MappingStorage.store

        def fails(storage, *args):
            if storage.__name__ == 'jobs':
                raise exception
            return store(storage, *args)
        return unittest.mock.patch.object(MappingStorage, 'store', fails)


class UpgradeTest(CommandCase):

    def test_cannot_be_closed(self):
        """A FileStorage raises when it flushes; the exit code tells more."""
        full = OSError(errno.ENOSPC, 'no room')
        with unittest.mock.patch.object(
                slices, 'upgrade_some', side_effect=full):
            code, out, _ = self.run_command(closing=full)
        self.assertEqual(2, code)
        self.assertIn('cannot be brought up to date: builtins.OSError', out)
        self.assertIn('no room', out)
