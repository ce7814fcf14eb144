"""A process of a Celery worker opens the database, beside others that do."""

import unittest
import unittest.mock

import ZODB
import zope.processlifetime
from ZODB.POSException import ConflictError

from gocept.async_.celery import application
from lovely.remotetask.running import quirks


class OpeningTest(unittest.TestCase):

    def setUp(self):
        self.opened = []
        self.failures = []
        for owner, name, value in (
                (application, 'options', unittest.mock.Mock()),
                (application.time, 'sleep', lambda seconds: None),
                (application.zope.app.appsetup.appsetup, 'multi_database',
                 self.multi_database),
                (application.zope.event, 'notify', self.notify)):
            self.enterContext(unittest.mock.patch.object(owner, name, value))

    def multi_database(self, databases):
        db = ZODB.DB(None)
        self.addCleanup(self.close, db)
        self.opened.append(db)
        return [db], {}

    def notify(self, event):
        self.assertTrue(zope.processlifetime.IDatabaseOpened.providedBy(event))
        if self.failures:
            raise self.failures.pop()

    def close(self, db):
        if not quirks.is_closed(db):
            db.close()

    def test_others_start_at_the_same_time(self):
        """Who was slower to make the root folder tries once more."""
        self.failures = [ConflictError(), ConflictError()]
        found = application._open()
        self.assertIs(self.opened[-1], found)
        self.assertEqual(3, len(self.opened))
        self.assertEqual([True, True, False],
                         list(map(quirks.is_closed, self.opened)))

    def test_what_is_wrong_for_good(self):
        """What trying again does not help is raised at once."""
        self.failures = [ValueError('no')]
        with self.assertRaises(ValueError):
            application._open()
        self.assertEqual(1, len(self.opened))

    def test_it_has_an_end(self):
        """Where it never works, that is raised in the end."""
        self.failures = [ConflictError()] * 100
        with self.assertRaises(ConflictError):
            application._open()
        self.assertEqual(application.OPENINGS, len(self.opened))
