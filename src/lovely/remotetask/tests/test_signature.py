"""What the transaction of a job says of itself."""

import datetime
import decimal
import enum
import os
import tempfile

import transaction
import ZEO
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.foreign.outcome import in_runner
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.running.execution import ENDED
from lovely.remotetask.running.execution import run_claimed
from lovely.remotetask.running.group import run_group
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine


A = 'host:1:thread:no-machine-1'


class Colour(enum.Enum):
    RED = 1


def say(value):
    return lambda: transaction.get().setExtendedInfo('odd', value)


def note(text):
    return lambda: transaction.get().note(text)


def name_user(text):
    def name():
        transaction.get().user = text
    return name


def say_in_a_hook():
    """Also in one that is only there when the commit has begun."""
    txn = transaction.get()
    txn.addBeforeCommitHook(
        lambda: txn.addBeforeCommitHook(say(Colour.RED)))


class Saying:
    """Says it when all hooks have been called."""

    def beforeCompletion(self, txn):
        txn.setExtendedInfo('odd', Colour.RED)

    def newTransaction(self, txn):
        pass

    afterCompletion = newTransaction


def say_in_a_synchronizer():
    # The manager refers to it weakly.
    SAYING.append(Saying())
    transaction.manager.registerSynch(SAYING[-1])


SAYING = []


class Cyclic(list):
    """Pickles into something without an end."""

    def __reduce__(self):
        return Cyclic, (Cyclic(),)


CYCLIC = []
CYCLIC.append(CYCLIC)

NOBODY_KEEPS = {
    'function': say(lambda: 1), 'module': say(os), 'endless': say(Cyclic()),
    'surrogates': note('caf\udce9')}

NO_FILE_KEEPS = {
    'long note': note('x' * 70_000), 'long user': name_user('x' * 0x10000),
    'long text of two bytes': name_user('\xe4' * 0x8000),
    'long extension': say('x' * 70_000)}

NO_SERVER_KEEPS = {
    'date': say(datetime.date(2026, 1, 1)), 'enum': say(Colour.RED),
    'class': say(Colour), 'number': say(decimal.Decimal(1)),
    'cycle': say(CYCLIC), 'in a hook': say_in_a_hook,
    'in a synchronizer': say_in_a_synchronizer}

ALL_KEEP = {
    'plain': say({'text': ['a', 1, 2.5, None, True, b'x', (1,)]}),
    'set': say({1, 2}), 'exception': say(KeyError('x')),
    'note': note('x' * 60_000), 'user': name_user('x' * 0xffff),
    'text of two bytes': name_user('\xe4' * 0x7fff)}


class SignatureCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        token = in_runner.set(True)
        self.addCleanup(in_runner.reset, token)
        self.service_task(self.work, 'test.w')
        transaction.commit()

    def work(self, service, input):
        effect(service, input)
        self.acts[input]()

    def run_jobs(self, acts, number=1):
        """Run a job for each of the acts.  Return {name: Job}."""
        self.acts = {**acts, 'good': lambda: None}
        jobids = {name: self.add('test.w', name) for name in self.acts}
        claims = engine(self.service).claim(A, 100)
        transaction.commit()
        if number > 1:
            ends = run_group(self.db, ['tasks'], claims, transaction.commit)
            self.assertEqual({ENDED}, set(ends.values()))
        else:
            for claim in claims:
                self.assertEqual(ENDED, run_claimed(
                    self.db, ['tasks'], claim, transaction.commit))
        return {name: self.job(jobid) for name, jobid in jobids.items()}

    def assert_ends(self, wrong, right=ALL_KEEP):
        """All wrong ones are in error, at once; others are completed."""
        for number in (1, 20):
            jobs = self.run_jobs({**wrong, **right}, number)
            for name, job in jobs.items():
                with self.subTest(name, number=number):
                    self.assertEqual(
                        (ERROR if name in wrong else COMPLETED, 1),
                        (job.status, job.attempts), job.error)
                    self.assertEqual(
                        1 - (name in wrong), self.effects.count(name))
            with self.elsewhere() as service:
                del service.__parent__.effects[:]
            self.service.clean()
            transaction.commit()


class FileTest(SignatureCase):

    def open_database(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return ZODB.DB(FileStorage(os.path.join(folder, 'Data.fs')))

    def test_jobs(self):
        """It is the failure of the job; a file keeps dates, and the like."""
        self.assert_ends({**NOBODY_KEEPS, **NO_FILE_KEEPS},
                         {**ALL_KEEP, 'date': NO_SERVER_KEEPS['date']})


class ServedTest(SignatureCase):

    def open_database(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        address, stop = ZEO.server(os.path.join(folder, 'Data.fs'))
        self.addCleanup(stop)
        return ZEO.DB(address, wait_timeout=5)

    def test_jobs(self):
        """It is the failure of the job, and the client stays connected."""
        lost = []
        original = self.db.storage.notify_disconnected
        self.db.storage.notify_disconnected = lambda *args: (
            lost.append(args), original(*args))
        self.assert_ends(
            {**NOBODY_KEEPS, **NO_FILE_KEEPS, **NO_SERVER_KEEPS})
        self.assertEqual([], lost)
