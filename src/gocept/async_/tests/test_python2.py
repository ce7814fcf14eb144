"""An application of 2010 starts on the database of then."""

import json
import subprocess
import sys
import unittest

from gocept.async_.tests import python2check


ZONES = 'UTC', 'Europe/Berlin', 'America/St_Johns'

# Seconds after which the application does not end any more.
LONG = 60


class Python2Test(unittest.TestCase):

    maxDiff = None

    def test_nothing_differs(self):
        """Its 161 jobs are what they were, in whatever time zone."""
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', python2check.__name__,
             *ZONES], capture_output=True, text=True, timeout=LONG)
        self.assertEqual('', done.stderr)
        self.assertEqual({zone: [] for zone in ZONES},
                         json.loads(done.stdout))
