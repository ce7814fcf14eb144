"""What untrusted code sees of a service by a grant on that service alone."""

import time
import xmlrpc.client

import persistent
import transaction
import zope.component
import zope.interface
import zope.security.management
import zope.security.testing
from zope.annotation.interfaces import IAttributeAnnotatable
from zope.security.checker import ProxyFactory
from zope.security.interfaces import Forbidden
from zope.security.interfaces import Unauthorized
from zope.security.proxy import Proxy
from zope.security.proxy import removeSecurityProxy
from zope.securitypolicy.interfaces import IPrincipalPermissionManager
from zope.securitypolicy.interfaces import IPrincipalRoleManager
from zope.securitypolicy.interfaces import IRolePermissionManager

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.tests.test_xmlrpc import ARGUMENTS
from lovely.remotetask.tests.test_xmlrpc import MANAGE
from lovely.remotetask.tests.test_xmlrpc import VIEW
from lovely.remotetask.tests.test_xmlrpc import LayerCase
from lovely.remotetask.tests.test_xmlrpc import Transport


class LocalCase(LayerCase):
    """Two services; something is granted on one of them."""

    def setUp(self):
        super().setUp()
        self.root['others'] = self.others = TaskService()
        self.task(lambda input: 1 / 0, 'test.fail')
        for service in (self.service, self.others):
            self.fill(service)
        transaction.commit()

    def fill(self, service):
        """Add jobs of any kind."""
        self.ended = service.add('test.fail', {'a': [1]})
        service.process()
        self.cron = service.addCronJob('echo', minute=(10,))
        self.claimed = service.add('echo', 'input')
        service.claimNextJob()
        self.waiting = service.add('echo', 'input')

    def tearDown(self):
        zope.security.management.endInteraction()
        super().tearDown()

    def login(self):
        zope.security.management.endInteraction()
        zope.security.management.newInteraction(
            zope.security.testing.Participation(
                zope.security.testing.Principal('zope.user')))

    def forget(self):
        """Load everything anew."""
        transaction.commit()
        self.root._p_jar.cacheMinimize()

    def grant(self, permission, service=None):
        """Grant a permission on a service to the user."""
        IPrincipalPermissionManager(
            self.service if service is None else service
        ).grantPermissionToPrincipal(permission, 'zope.user')
        self.forget()
        self.login()

    @property
    def proxied(self):
        return ProxyFactory(self.service)


class LocalGrantTest(LocalCase):
    """View granted on a service shows what belongs to it."""

    def jobs(self, service):
        """Return all jobs, got in all ways."""
        ids = list(service.jobs)
        return [
            *(service.jobs[jobid] for jobid in ids),
            *(service.jobs.get(jobid) for jobid in ids),
            *service.jobs.values(), *(job for _, job in service.jobs.items()),
            *service.find().jobs, *service.find(status='error').jobs,
            *service.find(status='queued').jobs,
            *service.find(status='processing').jobs,
            *service.find(status='cronjob').jobs]

    def check(self):
        """Check that all there is to see of the service is seen."""
        service = self.proxied
        self.assertEqual(4, len(service.jobs))
        jobs = self.jobs(service)
        self.assertEqual(4 * 5 + 4, len(jobs))
        for job in jobs:
            self.assertIs(Proxy, type(job))
            self.assertIn(
                job.status, ('error', 'cronjob', 'processing', 'queued'))
            self.assertEqual(self.service, removeSecurityProxy(job.__parent__))
        job = service.jobs[self.ended]
        self.assertEqual('ZeroDivisionError',
                         job.history[0].errorClass.rpartition('.')[2])
        self.check_content(job)
        self.assertEqual(
            [1], [entry.attempt for entry in [
                service.jobs[self.claimed].claim]])
        self.assertIsNone(service.find().after)
        self.assertIn('echo', service.getAvailableTasks())

    def check_content(self, job):
        """Check that what a job is about is shown by a right of its own."""
        reads = [lambda: job.traceback, lambda: job.error, lambda: job.input,
                 lambda: job.history[-1].traceback,
                 lambda: job.history[-1].error,
                 lambda: self.proxied.getError(self.ended)]
        for read in reads:
            with self.assertRaises(Unauthorized):
                read()
        IPrincipalPermissionManager(
            self.service).grantPermissionToPrincipal(ARGUMENTS, 'zope.user')
        self.login()
        found = [read() for read in reads]
        self.assertIn('Traceback', found[0])
        self.assertIn('Traceback', found[3])

    def test_principal(self):
        """A permission, on the service."""
        self.grant(VIEW)
        self.check()

    def test_role(self):
        """A role, on the service."""
        IRolePermissionManager(self.root).grantPermissionToRole(
            VIEW, 'test.Reader')
        IPrincipalRoleManager(self.service).assignRoleToPrincipal(
            'test.Reader', 'zope.user')
        self.forget()
        self.login()
        self.check()

    def test_permission_of_a_role(self):
        """What a role may is granted on the service."""
        IRolePermissionManager(self.service).grantPermissionToRole(
            VIEW, 'test.Reader')
        IPrincipalRoleManager(self.root).assignRoleToPrincipal(
            'test.Reader', 'zope.user')
        self.forget()
        self.login()
        self.check()

    def test_jobs_that_have_left_the_cache(self):
        """A job that is held on to belongs to its service all the time."""
        self.grant(VIEW)
        jobs = self.jobs(self.proxied)
        claim = self.proxied.jobs[self.claimed].claim
        for job in map(removeSecurityProxy, jobs):
            job._p_deactivate()
        self.root._p_jar.cacheMinimize()
        for job in jobs:
            self.assertEqual(self.service, removeSecurityProxy(job.__parent__))
            self.assertNotEqual('completed', job.status)
        self.assertEqual(self.claimed, claim.job)

    def test_parts_by_themselves(self):
        """Trusted code hands out what it has got."""
        self.grant(VIEW)
        jobs = self.service.jobs
        self.assertEqual(
            self.claimed, ProxyFactory(jobs[self.claimed].claim).job)
        self.assertGreater(
            ProxyFactory(jobs[self.ended].history[0]).started, 0)
        self.assertEqual(4, len(ProxyFactory(self.service.find()).jobs))
        self.assertEqual(4, len(ProxyFactory(jobs)))

    def test_other_services(self):
        """Neither these, nor what belongs to them."""
        self.grant(VIEW)
        jobs = self.others.jobs
        for secret in (self.others, jobs, jobs[self.ended],
                       jobs[self.cron], jobs[self.claimed].claim,
                       jobs[self.ended].history[0], self.others.find(),
                       self.others.getAvailableTasks()):
            names = ('jobs', 'status', 'processor', 'keys', 'after')
            found = [name for name in names if hasattr(secret, name)]
            self.assertTrue(found)
            for name in found:
                with self.subTest(type(secret)), \
                        self.assertRaises(Unauthorized):
                    getattr(ProxyFactory(secret), name)

    def test_denied_on_one_service(self):
        """What is granted everywhere may be denied on a service."""
        IPrincipalPermissionManager(self.root).grantPermissionToPrincipal(
            VIEW, 'zope.user')
        IPrincipalPermissionManager(self.others).denyPermissionToPrincipal(
            VIEW, 'zope.user')
        self.forget()
        self.login()
        self.check()
        with self.assertRaises(Unauthorized):
            ProxyFactory(self.others.jobs[self.ended]).status  # noqa: B018
        claim = ProxyFactory(self.others.jobs[self.claimed].claim)
        with self.assertRaises(Unauthorized):
            claim.processor  # noqa: B018

    def test_xmlrpc(self):
        """By the remote methods as well."""
        self.grant(VIEW)
        zope.security.management.endInteraction()

        def server(name):
            return xmlrpc.client.ServerProxy(
                f'http://localhost/{name}',
                Transport(self.layer, 'user:userpw'))
        self.assertEqual('error', server('tasks').getStatus(self.ended))
        self.assertIn('echo', server('tasks').getAvailableTasks())
        with self.assertRaises(xmlrpc.client.ProtocolError):
            server('others').getStatus(self.ended)
        with self.assertRaises(xmlrpc.client.ProtocolError):
            server('tasks').cancel(self.waiting)


@zope.interface.implementer(IAttributeAnnotatable)
class Plain(persistent.Persistent):
    """What an application has stored, without any declaration."""

    def __init__(self):
        self.value = []

    def change(self):
        self.value.append('changed')


def act(service, jobid, input):
    raise AssertionError('was called')


zope.interface.directlyProvides(act, ITask)


class ReachableTest(LocalCase):
    """Whoever may only view a service reaches nothing that changes it."""

    # Of these, calls are tried, with arguments that fit.
    CALLS = {
        'getStatus': 1, 'getResult': 1, 'getError': 1, 'find': 0, 'counts': 0,
        'oldest_waiting': 0, 'getAvailableTasks': 0, 'isProcessing': 0,
        'keys': 0, 'values': 0, 'items': 0, 'timeOfNextCall': 0}

    CHANGES = (
        'append', 'clear', 'extend', 'pop', 'popitem', 'remove', 'insert',
        'setdefault', 'update', '__setitem__', '__delitem__', 'sort',
        'change_status', 'succeed', 'fail', 'retry', 'lose', 'wait_again',
        'clear', 'outdate_claims', 'interrupt', 'setTaggedValue', 'changed',
        'subscribe', 'unsubscribe', '__bases__', '__dict__', '__setstate__',
        '__reduce__', '__call__', 'change', 'part_of', 'store', '_store',
        '_p_jar', '_p_changed', '_v_store', 'details', '__self__',
        '__func__', '__globals__', 'undecorated', 'func')

    def setUp(self):
        super().setUp()
        manager = zope.component.getGlobalSiteManager()
        manager.registerUtility(act, ITask, 'test.function')
        self.addCleanup(
            manager.unregisterUtility, act, ITask, 'test.function')
        self.content = Plain()
        self.stored = self.service.add(
            'echo', {'content': self.content, 'list': [1]})
        self.service.processNext(jobid=self.stored)
        transaction.commit()

    def walk(self, start):
        """Yield everything that is reached from an object, with the way.

        Of the same class, and got by the same name, once.
        """
        seen, todo = set(), [('service', start)]
        while todo:
            way, found = todo.pop(0)
            key = type(removeSecurityProxy(found)), way.rpartition('.')[2]
            if key in seen:
                continue
            seen.add(key)
            yield way, found
            if type(found) is Proxy:
                todo += self.next(way, found)

    def next(self, way, found):
        """Return pairs for what is reached from a proxied object."""
        names = {*dir(removeSecurityProxy(found)), *self.CHANGES}
        # What is public of any object, and leads out of the service.
        names -= {'__parent__', '__class__', '__providedBy__'}
        steps = []
        for name in sorted(names):
            try:
                steps.append((f'{way}.{name}', getattr(found, name)))
            except (AttributeError, Forbidden, Unauthorized):
                continue
        steps += [(f'{way}.{name}()', result) for name in self.CALLS
                  for result in self.call(found, name)]
        try:
            steps += [(f'{way}[...]', each) for each in found]
            steps += [(f'{way}[...]', found[key]) for key in found]
        except (TypeError, AttributeError, LookupError, Forbidden,
                Unauthorized):
            pass
        return steps

    def call(self, found, name):
        try:
            method = getattr(found, name)
        except (AttributeError, Forbidden, Unauthorized):
            return
        for jobid in ((self.ended, self.stored, self.claimed)
                      if self.CALLS[name] else (None,)):
            result = method(jobid) if jobid is not None else method()
            yield result
            if hasattr(result, '__next__'):
                yield from result

    def test_nothing_changes_it(self):
        """By viewing alone: attributes, items and results of all there is."""
        self.grant(VIEW)
        self.grant(ARGUMENTS)
        self.login()
        before = self.root._p_jar.db().lastTransaction()
        ways = []
        for way, found in self.walk(self.proxied):
            ways.append(way)
            self.check(way, found)
        text = '\n'.join(ways)
        for expected in ('.jobs', '.claim', '.history', '.find()', '.input',
                         '.getAvailableTasks()'):
            self.assertIn(expected, text)
        self.assertFalse(self.root._p_jar._registered_objects)
        transaction.commit()
        self.assertEqual(before, self.root._p_jar.db().lastTransaction())

    def check(self, way, found):
        """Check that an object that was reached gives no handle."""
        bare = removeSecurityProxy(found)
        # Values that cannot be changed are not proxied.
        if type(found) is not Proxy:
            self.assertIn(type(found).__module__,
                          ('builtins', 'datetime'), way)
            self.assertNotIsInstance(found, dict | list | set, way)
            return
        self.assertNotIsInstance(
            bare, zope.interface.interface.InterfaceClass, way)
        self.assertFalse(callable(found) and ITask.providedBy(bare), way)
        for name in self.CHANGES:
            if name in ('__call__', 'clear', 'keys'):
                continue
            with self.assertRaises(
                    (AttributeError, Forbidden, Unauthorized),
                    msg=f'{way}.{name}'):
                getattr(found, name)
        for name in ('status', 'value', 'x'):
            with self.assertRaises(
                    (AttributeError, Forbidden, Unauthorized), msg=way):
                setattr(found, name, 'changed')

    def test_tasks(self):
        """Their names are seen; who has a task could call it."""
        self.grant(VIEW)
        tasks = self.proxied.getAvailableTasks()
        self.assertIn('test.function', tasks)
        self.assertIn('echo', sorted(tasks))
        self.assertEqual(len(self.service.getAvailableTasks()), len(tasks))
        for read in (lambda: tasks['test.function'],
                     lambda: tasks.get('test.function'),
                     lambda: tasks.values(), lambda: tasks.items()):
            with self.assertRaises(Unauthorized):
                read()
        for name in ('copy', 'pop', 'update', '__setitem__'):
            with self.assertRaises(Forbidden):
                getattr(tasks, name)

    def test_tasks_of_a_manager(self):
        """Whoever may manage a service can have its tasks run anyway."""
        self.grant(VIEW)
        self.grant(MANAGE)
        self.assertIs(act, removeSecurityProxy(
            self.proxied.getAvailableTasks()['test.function']))

    def test_tasks_for_trusted_code(self):
        """It has a mapping like any other."""
        self.assertIsInstance(self.service.getAvailableTasks(), dict)
        self.assertIs(act, self.service.getAvailableTasks()['test.function'])

    def test_task_interface(self):
        """An interface can be changed; it is for trusted code."""
        self.grant(VIEW)
        self.grant(MANAGE)
        with self.assertRaises(Forbidden):
            self.proxied.taskInterface  # noqa: B018
        with self.assertRaises(Forbidden):
            self.proxied.taskInterface = ITask
        self.assertIs(ITask, self.service.taskInterface)

    def test_time(self):
        """What is computed changes nothing, either."""
        self.grant(VIEW)
        self.assertGreater(
            self.proxied.jobs[self.cron].timeOfNextCall(), time.time())
