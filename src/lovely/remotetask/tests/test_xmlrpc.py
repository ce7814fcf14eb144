"""The remote methods, and who may do what with a service."""

import unittest.mock
import xmlrpc.client

import transaction
import webtest
import zope.security.management
import zope.security.testing
from zope.security.checker import CheckerPublic
from zope.security.checker import ProxyFactory
from zope.security.checker import getCheckerForInstancesOf
from zope.security.interfaces import Forbidden
from zope.security.interfaces import Unauthorized
from zope.securitypolicy.interfaces import IPrincipalPermissionManager
from zope.securitypolicy.principalpermission import principalPermissionManager

from gocept.async_.testing import FUNCTIONAL_LAYER
from lovely.remotetask import TaskService
from lovely.remotetask import interfaces
from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.history import Attempt
from lovely.remotetask.job import Claim
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.storage.listing import Page
from lovely.remotetask.storage.store import Jobs
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.fixture import TaskCase


VIEW, MANAGE = 'lovely.remotetask.View', 'lovely.remotetask.Manage'
ARGUMENTS = 'lovely.remotetask.ViewArguments'

CALLS = {
    'getAvailableTasks': (), 'getStatus': ('id',), 'getResult': ('id',),
    'getError': ('id',), 'add': ('echo',), 'cancel': ('id',)}
READING = {'getAvailableTasks', 'getStatus'}
CONTENT = {'getResult', 'getError'}


class Transport(xmlrpc.client.Transport):
    """Posts to the application of a layer."""

    def __init__(self, layer, login=None):
        super().__init__()
        self.app = webtest.TestApp(layer.make_wsgi_app())
        self.login = login

    def request(self, host, handler, request_body, verbose=False):
        headers = {'Content-Type': 'text/xml'}
        if self.login:
            headers['Authorization'] = f'Basic {self.login}'
        response = self.app.post(
            handler, request_body, headers, expect_errors=True)
        if response.status_int != 200:
            raise xmlrpc.client.ProtocolError(
                handler, response.status_int, response.text, {})
        parser, unmarshaller = self.getparser()
        parser.feed(response.body)
        parser.close()
        return unmarshaller.close()


class LayerCase(TaskCase):

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        super().setUp()
        self.root = self.layer.getRootFolder()
        self.root['tasks'] = self.service = TaskService()
        transaction.commit()

    def grant(self, permission, principal='zope.user'):
        IPrincipalPermissionManager(
            self.root).grantPermissionToPrincipal(permission, principal)
        transaction.commit()


class XMLRPCTest(LayerCase):

    def server(self, login='mgr:mgrpw'):
        return xmlrpc.client.ServerProxy(
            'http://localhost/tasks', Transport(self.layer, login))

    def process(self):
        transaction.begin()
        self.service.process()
        transaction.commit()

    def test_available_tasks(self):
        """The names of the tasks come sorted."""
        self.task(len, 'test.b')
        self.task(len, 'test.a')
        names = self.server().getAvailableTasks()
        self.assertEqual(sorted(names), names)
        self.assertLessEqual({'echo', 'test.a', 'test.b'}, set(names))

    def test_add_and_result(self):
        """A job is added, run, and its result fetched."""
        server = self.server()
        jobid = server.add('echo', {'foo': 'bar'})
        self.assertEqual('queued', server.getStatus(jobid))
        self.process()
        self.assertEqual('completed', server.getStatus(jobid))
        self.assertEqual({'foo': 'bar'}, server.getResult(jobid))
        self.assertEqual('None', server.getError(jobid))

    def test_without_input(self):
        """A job can be added without input; its result may be None."""
        server = self.server()
        jobid = server.add('echo')
        transaction.begin()
        self.assertIsNone(self.service.jobs[jobid].input)

    def test_error(self):
        """The error of a job is its message."""
        def fail(input):
            raise TaskError('An error occurred.')
        self.task(fail, 'test.fail')
        server = self.server()
        jobid = server.add('test.fail', {})
        self.process()
        self.assertEqual('error', server.getStatus(jobid))
        self.assertEqual('An error occurred.', server.getError(jobid))

    def test_error_with_control_characters(self):
        """XML has none, nor half of a pair: they are escaped; lines stay."""
        def fail(input):
            raise TaskError('\x1b[31mred\x00\n\ud800\uffff')
        self.task(fail, 'test.fail')
        server = self.server()
        jobid = server.add('test.fail')
        self.process()
        self.assertEqual('\\x1b[31mred\\x00\n\\ud800\\uffff',
                         server.getError(jobid))

    def test_what_is_no_id(self):
        """It is refused, and taken for no other one."""
        server = self.server()
        jobid = server.add('echo')
        for other in (jobid + 0.9, True, f'{jobid}.0', f'+{jobid}', '', []):
            for name in 'cancel', 'getStatus', 'getResult', 'getError':
                with self.subTest(other, name=name), self.assertRaises(
                        xmlrpc.client.Error):
                    getattr(server, name)(other)
        self.assertEqual('queued', server.getStatus(str(jobid)))

    def test_cancel(self):
        """A cancelled job says so; the answer is true."""
        server = self.server()
        jobid = server.add('echo', {})
        self.assertIs(True, server.cancel(jobid))
        self.assertEqual('cancelled', server.getStatus(jobid))

    def test_an_error_of_the_call(self):
        """What is refused is an error of the call; nothing is stored."""
        # The error views of the application decide which.
        with self.assertRaises(xmlrpc.client.Error):
            self.server().add('test.unknown')
        transaction.begin()
        self.assertEqual([], list(self.service.jobs))

    def test_anonymous(self):
        """Who is not logged in may do nothing at all."""
        self.check(None, set())

    def test_without_permission(self):
        """Nor may a user without permission."""
        self.check('user:userpw', set())

    def test_view(self):
        """Who may view, may read, but not what jobs are about."""
        self.grant(VIEW)
        self.check('user:userpw', READING)

    def test_view_arguments(self):
        """That is a right beside the other one, and alone good for nothing."""
        self.grant(ARGUMENTS)
        self.check('user:userpw', set())

    def test_view_and_view_arguments(self):
        self.grant(VIEW)
        self.grant(ARGUMENTS)
        self.check('user:userpw', READING | CONTENT)

    def test_manage(self):
        """Who may manage, may add and cancel; reading is another right."""
        self.grant(MANAGE)
        self.check('user:userpw', {'add', 'cancel'})

    def test_manager(self):
        """Who has both permissions may do everything."""
        self.check('mgr:mgrpw', set(CALLS))

    def check(self, login, allowed):
        """Check which of the methods may be called."""
        jobid = self.service.add('echo', 'input')
        self.service.process()
        transaction.commit()
        server = self.server(login)
        for name, args in CALLS.items():
            args = [jobid if arg == 'id' else arg for arg in args]
            with self.subTest(name):
                if name in allowed:
                    getattr(server, name)(*args)
                    continue
                with self.assertRaises(
                        xmlrpc.client.ProtocolError) as caught:
                    getattr(server, name)(*args)
                self.assertEqual(401, caught.exception.errcode)
        transaction.begin()
        self.assertEqual(2 if 'add' in allowed else 1,
                         len(self.service.jobs))


class SecurityTest(LayerCase):

    def grant(self, permission, principal='zope.user'):
        # Everywhere: a job has no parent that a local grant could be on.
        principalPermissionManager.grantPermissionToPrincipal(
            permission, principal)
        self.addCleanup(
            principalPermissionManager.unsetPermissionForPrincipal,
            permission, principal)

    MANAGED = {
        'add', 'addCronJob', 'startJob', 'reschedule', 'requeue', 'clean',
        'cancel', 'remove', 'copy', 'pause_job', 'resume_job',
        'hasJobsWaiting', 'claimNextJob', 'processNext',
        'process', 'startProcessing', 'stopProcessing'}

    # What a processor is, how it is made, and an interface that could be
    # changed, are not for untrusted code.
    INTERNAL = {'processorFactory', 'processorArguments', 'taskInterface'}

    def permissions(self, class_):
        checker = getCheckerForInstancesOf(class_)
        return checker.get_permissions, checker.set_permissions

    def test_nothing_is_public(self):
        """No attribute of a service or job is open to everybody."""
        for class_ in (TaskService, Job, CronJob, Claim, Jobs, Page):
            with self.subTest(class_.__name__):
                get, set = self.permissions(class_)
                self.assertLessEqual(
                    {*get.values()}, {VIEW, MANAGE, ARGUMENTS})
                self.assertLessEqual({*set.values()}, {MANAGE})
                self.assertNotIn(CheckerPublic, get.values())

    def test_service(self):
        """What changes a service needs Manage, what reads it View.

        Results and messages need ViewArguments.
        """
        get, _ = self.permissions(TaskService)
        names = set(interfaces.ITaskService) - self.INTERNAL
        self.assertEqual(
            self.MANAGED, {name for name in get if get[name] == MANAGE})
        self.assertEqual(
            names - self.MANAGED - CONTENT - {'__name__', '__parent__'},
            {name for name in get if get[name] == VIEW})
        self.assertEqual(
            CONTENT, {name for name in get if get[name] == ARGUMENTS})

    def test_what_can_be_set(self):
        """Only to pause a service, by who may manage it."""
        self.assertEqual(
            {'paused': MANAGE}, self.permissions(TaskService)[1])
        for class_ in (Job, CronJob, Claim, Jobs, Page):
            self.assertEqual({}, self.permissions(class_)[1])

    def test_the_processors_side(self):
        """What processors call is out of reach for untrusted code."""
        get, _ = self.permissions(TaskService)
        self.assertFalse(
            {'claim', 'claimed', 'complete', 'fail', 'release',
             '_generateId'} & set(get))

    def test_job(self):
        """A job's fields can be viewed, those of a cron job be updated."""
        get, _ = self.permissions(Job)
        self.assertLessEqual(set(interfaces.IJob), set(get))
        get, _ = self.permissions(CronJob)
        self.assertLessEqual(set(interfaces.ICronJob), set(get))
        self.assertEqual(MANAGE, get['update'])

    def test_content(self):
        """What a job is about is a right of its own, whoever has the job."""
        for class_ in (Job, CronJob, UnreadableJob, Attempt):
            get, _ = self.permissions(class_)
            names = {'error', 'traceback'}
            if class_ is not Attempt:
                names |= {'input', 'output'}
            with self.subTest(class_.__name__):
                self.assertEqual(names, {
                    name for name in get if get[name] == ARGUMENTS})

    def test_proxied(self):
        """Through a proxy, with View only, jobs are read and not added."""
        self.grant(VIEW)
        jobid = self.service.add('echo')
        service = ProxyFactory(self.service)
        zope.security.management.newInteraction(
            zope.security.testing.Participation(
                zope.security.testing.Principal('zope.user')))
        self.assertEqual('queued', service.getStatus(jobid))
        job = ProxyFactory(self.service.jobs[jobid])
        self.assertEqual('queued', job.status)
        for name in sorted(self.MANAGED):
            with self.subTest(name), self.assertRaises(Unauthorized):
                getattr(service, name)
        with self.assertRaises(Forbidden):
            job.status = 'completed'

    def proxied(self):
        zope.security.management.newInteraction(
            zope.security.testing.Participation(
                zope.security.testing.Principal('zope.user')))
        return ProxyFactory(self.service)

    def test_proxied_jobs(self):
        """The mapping of jobs, and what it holds, are read with View."""
        self.grant(VIEW)
        jobid = self.service.add('echo', 'input')
        cron = self.service.addCronJob('echo', minute=(10,))
        transaction.commit()
        service = self.proxied()
        self.assertEqual('queued', service.jobs[jobid].status)
        self.assertEqual([jobid, cron], sorted(service.jobs))
        self.assertEqual(2, len(service.jobs))
        self.assertIn(jobid, service.jobs)
        self.assertEqual(
            [jobid, cron], sorted(job.id for job in service.jobs.values()))
        self.assertEqual((10,), service.jobs[cron].minute)
        self.assertIsNone(service.jobs.get(42))
        with self.assertRaises(Unauthorized):
            service.jobs[cron].update(minute=(11,))

    def test_proxied_claim_and_history(self):
        """Who runs a job, and who has run it, is read with View."""
        self.grant(VIEW)
        jobid = self.service.add('echo', 'input')
        self.service.claimNextJob()
        service = self.proxied()
        self.assertEqual(jobid, service.jobs[jobid].claim.job)
        self.assertRegex(service.jobs[jobid].claim.processor, ':')
        self.service.processNext(jobid=jobid)
        self.assertIsNone(service.jobs[jobid].claim)
        self.assertRegex(service.jobs[jobid].history[-1].processor, ':')

    def test_proxied_find(self):
        """Pages, counts and the pause are read with View."""
        self.grant(VIEW)
        jobid = self.service.add('echo', 'input')
        service = self.proxied()
        page = service.find(status='queued')
        self.assertEqual([jobid], [job.id for job in page.jobs])
        self.assertEqual(['queued'], [job.status for job in page.jobs])
        self.assertIsNone(page.after)
        self.assertEqual(1, service.counts()['queued'])
        self.assertFalse(service.paused)
        with self.assertRaises(Unauthorized):
            service.paused = True

    def test_anonymous(self):
        """Without permission nothing is read."""
        service = ProxyFactory(self.service)
        zope.security.management.newInteraction(
            zope.security.testing.Participation(
                zope.security.testing.Principal('zope.anybody')))
        for name in ('jobs', 'getStatus', 'getAvailableTasks', 'find',
                     'counts', 'paused', 'hasJobsWaiting'):
            with self.subTest(name), self.assertRaises(Unauthorized):
                getattr(service, name)

    def test_location(self):
        """Where a service is, is no secret: the publication asks for it.

        A refused request would end in an error instead of an answer.
        """
        get, _ = self.permissions(TaskService)
        self.assertFalse({'__name__', '__parent__'} & set(get))

    def test_proxied_manager(self):
        """Through a proxy, with all permissions, everything works."""
        self.grant(VIEW)
        self.grant(ARGUMENTS)
        self.grant(MANAGE)
        patch = unittest.mock.patch.object(
            TaskService, 'processorFactory', QuietProcessor)
        patch.start()
        self.addCleanup(patch.stop)
        service = ProxyFactory(self.service)
        zope.security.management.newInteraction(
            zope.security.testing.Participation(
                zope.security.testing.Principal('zope.user')))
        self.assertIn('echo', service.getAvailableTasks())
        jobid = service.add('echo', 'input')
        service.process()
        self.assertEqual('input', service.getResult(jobid))
        cron = service.addCronJob('echo', minute=(10,))
        ProxyFactory(self.service.jobs[cron]).update(minute=(11,))
        service.reschedule(cron)
        service.cancel(cron)
        service.clean()
        self.assertEqual([], list(self.service.jobs))
        self.assertFalse(service.hasJobsWaiting())
        service.paused = True
        self.assertTrue(self.service.paused)
        self.assertFalse(service.isProcessing())
        service.startProcessing()
        self.addCleanup(service.stopProcessing)
        self.assertTrue(service.isProcessing())
