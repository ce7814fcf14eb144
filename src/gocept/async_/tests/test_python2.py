"""An application of 2010 starts on the database of then."""

import json
import subprocess
import sys
import unittest

import persistent.wref
import transaction

from gocept.async_.testing import process
from gocept.async_.tests import python2check
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.foreign import reference
from lovely.remotetask.tests.test_reference import spoil


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


class WeakReferenceTest(FunctionalTestCase):
    """An argument refers weakly to something, as zodbupdate writes it."""

    def test_argument(self):
        """It is repaired, and the function called."""
        content = self.root['content'] = sample.Content()
        other = self.root['other'] = sample.Content()
        transaction.commit()
        content.other = persistent.wref.WeakRef(other)
        sample.change(content, 'changed')
        transaction.commit()
        spoil(self.layer.db, content, lambda found: ['w', found[1][0]]
              if type(found) is list else found)
        self.layer.db.cacheMinimize()
        with self.assertLogs(reference.__name__, 'INFO') as logged:
            process('events')
        self.assertIn('sample.Content', logged.output[0])
        transaction.begin()
        job, = self.service.jobs.values()
        self.assertEqual(('completed', None), (job.status, job.error))
        self.assertEqual('changed', content.value)
        self.assertEqual(other, content.other())
