"""A service whose jobs go to Celery, without a broker, for the tests."""

import unittest.mock

from gocept.async_.celery import broker as celerybroker
from gocept.async_.celery.broker import Broker
from gocept.async_.celery.processor import CeleryProcessor
from lovely.remotetask.running import registry
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect


URL = 'redis://127.0.0.1:1/0'


class FakeSender:
    """Keeps what it is given."""

    broker = Broker(URL, {}, 1.0, 10.0)
    # In the queue; None: the broker does not answer.
    messages = 0

    def __init__(self):
        self.sent = []

    def send(self, queue, addresses):
        if self.messages is None:
            return 0
        jobids = [address['job'] for address in addresses]
        self.sent += [(queue, jobid) for jobid in jobids]
        return len(jobids)

    def waiting(self, queue):
        return self.messages


class CeleryCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.sender = FakeSender()
        patch = unittest.mock.patch.object(
            celerybroker, 'sender', lambda: self.sender)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(registry.stop_all, 0)
        self.service_task(effect)

    def start(self, factory=CeleryProcessor):
        made = self.processor(factory)
        made.place = self.jobs_db, self.service._p_oid
        registry.start_processor(made)
        made.membership.look_at_clock()
        return made
