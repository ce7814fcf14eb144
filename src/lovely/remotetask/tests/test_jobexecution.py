"""The side of a service that processors see."""

import persistent
import transaction
from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.running.session import Session
from lovely.remotetask.running.session import opened_engine
from lovely.remotetask.running.session import opened_service
from lovely.remotetask.tests.fixture import DatabaseCase


class AdapterTest(DatabaseCase):

    def test_interface(self):
        """It does all that processors may ask for."""
        self.assertTrue(verifyClass(IJobExecution, JobExecution))
        self.assertTrue(
            verifyObject(IJobExecution, IJobExecution(self.service)))

    def test_the_service_has_none_of_it(self):
        """Applications do not meet it by mistake."""
        processors = set(IJobExecution) - {'service'}
        self.assertEqual(
            set(), {name for name in processors - set(ITaskService)
                    if hasattr(TaskService, name)})
        self.assertFalse(IJobExecution.providedBy(self.service))

    def test_nothing_of_it_is_stored(self):
        """Asking for it changes no object, and keeps none."""
        made = IJobExecution(self.service)
        self.assertNotIsInstance(made, persistent.Persistent)
        self.assertIsNot(made, IJobExecution(self.service))
        self.assertIs(self.service, made.service)
        self.assertFalse(self.connection._registered_objects)

    def test_other_adapters(self):
        """A service adapts itself to nothing else."""
        self.assertIsNone(self.service.__conform__(ITaskService))


class SessionTest(DatabaseCase):

    def test_begin(self):
        """A session hands out the side of processors."""
        session = Session(self.db)
        try:
            self.assertIsInstance(session.begin(['tasks']), JobExecution)
        finally:
            session.close()

    def test_opened(self):
        """Who reads only gets the service, who keeps the books the engine."""
        with opened_engine(self.db, ['tasks']) as engine:
            self.assertTrue(IJobExecution.providedBy(engine))
        with opened_service(self.db, ['tasks']) as service:
            self.assertTrue(ITaskService.providedBy(service))


class TakeTest(DatabaseCase):
    """Jobs for who runs them in its own transaction."""

    def setUp(self):
        super().setUp()
        self.task(lambda input: input)
        self.engine = IJobExecution(self.service)

    def test_take_and_put_back(self):
        """What was put back can be taken again; nothing is counted."""
        jobid = self.add('test.task')
        job = self.engine.take()
        self.assertEqual(jobid, job.id)
        self.assertIsNone(self.engine.take())
        self.engine.put_back(job, job.status)
        transaction.commit()
        self.assertEqual(1, self.service.counts()['queued'])
        self.assertEqual(jobid, self.engine.take().id)

    def test_nothing_to_take(self):
        """Without a job there is None."""
        self.assertIsNone(self.engine.take())
