"""Several threads that complain of the same."""

import threading
import unittest

from gocept.async_.recurring import Complaint
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.test_shared import in_the_middle


class ComplaintTest(unittest.TestCase):

    def test_said_once(self):
        """What two threads meet at once is said by one line."""
        lines = []
        middle = in_the_middle(lambda: complaint.say('it broke'))

        def log(text, *args):
            middle()
            lines.append(text)
        complaint = Complaint(log)
        complaint.say('it broke')
        middle.threads[0].join(PATIENCE)
        self.assertEqual(1, len(lines))
        self.assertEqual(1, complaint._unsaid)
        self.assertFalse(threading.current_thread().daemon)
