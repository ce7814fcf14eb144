"""The drawings of the documents show what the code does."""

import importlib.util
import pathlib
import unittest
import unittest.mock

from lovely.remotetask import interfaces
from lovely.remotetask import job


DOCUMENTS = pathlib.Path(__file__).parents[4] / 'docs'
SCRIPT = DOCUMENTS / 'drawings.py'


@unittest.skipUnless(SCRIPT.exists(), 'installed without the documents')
class DrawingsTest(unittest.TestCase):

    def setUp(self):
        spec = importlib.util.spec_from_file_location('_drawings', SCRIPT)
        self.drawings = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.drawings)

    def test_are_up_to_date(self):
        """Each file is what docs/drawings.py writes."""
        for name, draw in self.drawings.DRAWINGS.items():
            with self.subTest(name):
                self.assertEqual(
                    draw(), (DOCUMENTS / name).read_text(encoding='utf-8'),
                    'run: bin/python docs/drawings.py')

    def test_every_status_is_drawn(self):
        """No status is missing among the boxes."""
        self.assertLessEqual(
            set(interfaces.STATUSES), set(self.drawings.BOXES))

    def change(self, old, new):
        return unittest.mock.patch.dict(
            job.STATUS_CHANGES, {old: job.STATUS_CHANGES[old] ^ {new}})

    def test_a_change_that_is_not_drawn(self):
        """A change that becomes legal needs a line."""
        with (self.change(interfaces.COMPLETED, interfaces.QUEUED),
              self.assertRaisesRegex(ValueError, 'completed.*queued')):
            self.drawings.states()

    def test_a_line_without_a_change(self):
        """A change that is legal no more loses its line."""
        with (self.change(interfaces.ERROR, interfaces.QUEUED),
              self.assertRaisesRegex(ValueError, 'error.*queued')):
            self.drawings.states()

    def test_one_that_waits_changes_in_its_own_way(self):
        """What waits is one box only while all of it changes alike."""
        with (self.change(interfaces.DELAYED, interfaces.HELD),
              self.assertRaises(ValueError)):
            self.drawings.states()
