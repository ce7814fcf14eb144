"""Tests of gocept.async_.task."""

import pickle
import unittest

import transaction
import zope.authentication.interfaces
import zope.component
import zope.component.hooks
import zope.interface
import zope.security.management
from ZODB.Connection import TransactionMetaData
from zope.interface.verify import verifyObject
from zope.security.management import system_user
from zope.security.testing import Participation
from zope.security.testing import Principal
from zope.site.folder import Folder
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from gocept.async_ import task
from gocept.async_.interfaces import ITaskDescription
from gocept.async_.task import TASK_NAME
from gocept.async_.task import AsyncFunction
from gocept.async_.task import TaskDescription
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.interfaces import IInputCheck
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.running.execution import interaction
from lovely.remotetask.task import TaskError


SAMPLE = 'gocept.async_.tests.sample'

# As Python 2 wrote the class, in a pickle of protocol 2.
OLD_CLASS = b'cgocept.async.task\nTaskDescription\n'


def old_str(text):
    """Return a str of Python 2 in the pickle protocols 1 and 2."""
    return b'U' + bytes([len(text)]) + text.encode()


def old_state(function, site=b'N', principal=b'N'):
    """Return the state of an old TaskDescription: function(2, 7, c='d')."""
    return b''.join([
        b'}(',
        old_str('_f'), old_str(function),
        old_str('args'), b'K\x02K\x07\x86',
        old_str('kwargs'), b'}', old_str('c'), old_str('d'), b's',
        old_str('principal'), principal,
        old_str('site'), site,
        b'u'])


def old_reference(obj):
    """Return a persistent reference of the ZODB in an old pickle.

    The oid is bytes, which is what zodbupdate makes of an old str.
    """
    class_ = f'c{type(obj).__module__}\n{type(obj).__name__}\n'
    return b'(C\x08' + obj._p_oid + class_.encode() + b'tQ'


def add_site(container, name):
    container[name] = site = Folder()
    site.setSiteManager(LocalSiteManager(site))
    return site


@zope.interface.implementer(zope.authentication.interfaces.IAuthentication)
class LocalAuthentication(sample.Content):
    """Knows the people of one site."""

    __name__ = __parent__ = None

    def getPrincipal(self, id):
        if id != 'local.user':
            raise zope.authentication.interfaces.PrincipalLookupError(id)
        return Principal(id, 'Known here only')


class TaskDescriptionTest(unittest.TestCase):
    """A stored call."""

    def setUp(self):
        self.addCleanup(logout)
        self.addCleanup(zope.component.hooks.setSite, None)
        logout()
        zope.component.hooks.setSite(None)

    def describe(self, function=sample.record, args=(), kwargs=None):
        return TaskDescription(function, args, kwargs or {})

    def test_provides_its_interface(self):
        """See ITaskDescription."""
        verifyObject(ITaskDescription, self.describe())

    def test_state_is_that_of_the_old_class(self):
        """These five attributes, and no others."""
        site = rootFolder()
        site.setSiteManager(LocalSiteManager(site))
        zope.component.hooks.setSite(site)
        login('joe')
        self.assertEqual(
            {'_f': f'{SAMPLE}.record', 'args': (2, 7), 'kwargs': {'c': 'd'},
             'principal': 'joe', 'site': site},
            self.describe(args=(2, 7), kwargs={'c': 'd'}).__getstate__())

    def test_without_principal_and_site(self):
        """Both are None for a script."""
        description = self.describe()
        self.assertIsNone(description.principal)
        self.assertIsNone(description.site)

    def test_function_is_looked_up_when_asked_for(self):
        """f is the decorated function."""
        self.assertIs(sample.record, self.describe().f)

    def test_function_may_be_decorated_further(self):
        """Stored is what the decorator made."""
        description = self.describe(sample.announced_when_called)
        self.assertEqual(f'{SAMPLE}.announced_when_called', description._f)
        self.assertIs(sample.announced_when_called.__wrapped__, description.f)

    def test_function_that_is_not_decorated_is_refused(self):
        """Being importable does not make a function a task."""
        for name in (f'{SAMPLE}.undecorated', 'os.system', 'os.path.sep'):
            with self.subTest(name), self.assertRaisesRegex(
                    LookupError, f"'{name}' is not an asynchronous function"):
                description = self.describe()
                description._f = name
                description.f  # noqa: B018

    def test_function_that_does_not_exist_is_an_error(self):
        """The error names it and the reason."""
        for name, reason in (
                (f'{SAMPLE}.gone', 'has no attribute'),
                ('no_such_module.gone', 'No module named'),
                ('gone', 'There is no function')):
            with self.subTest(name), self.assertRaisesRegex(
                    LookupError, f"'{name}': .*|{reason}"):
                description = self.describe()
                description._f = name
                description.f  # noqa: B018

    def test_principal_is_none_without_interaction(self):
        """get_principal() is static and needs no interaction."""
        self.assertIsNone(TaskDescription.get_principal())

    def test_principal_is_none_without_one_in_the_interaction(self):
        """A participation need not have a principal yet."""
        zope.security.management.newInteraction(Participation(None))
        self.assertIsNone(TaskDescription.get_principal())

    def test_principal_is_the_id_of_the_current_one(self):
        """In an interaction it is the id."""
        login('joe')
        self.assertEqual('joe', TaskDescription.get_principal())

    def test_system_user_has_an_id_too(self):
        """For example in generations."""
        zope.security.management.newInteraction(Participation(system_user))
        self.assertEqual(system_user.id, TaskDescription.get_principal())


class OldPickleTest(unittest.TestCase):
    """Calls stored by gocept.async 0.3 on Python 2."""

    def load(self, state):
        return pickle.loads(
            b'\x80\x02' + OLD_CLASS + b')\x81' + state + b'b.')

    def test_is_loaded_by_its_old_name(self):
        """The class is the one of gocept.async_."""
        description = self.load(old_state(f'{SAMPLE}.record'))
        self.assertIs(TaskDescription, type(description))
        self.assertEqual((2, 7), description.args)
        self.assertEqual({'c': 'd'}, description.kwargs)
        self.assertIsNone(description.principal)
        self.assertIsNone(description.site)
        self.assertIs(sample.record, description.f)

    def test_state_may_lack_principal_and_site(self):
        """Early versions knew neither."""
        description = self.load(
            b'}' + old_str('_f') + old_str(f'{SAMPLE}.record') + b's')
        self.assertIsNone(description.principal)
        self.assertIsNone(description.site)

    def test_function_may_be_undecorated_by_now(self):
        """Then it is refused like any other."""
        with self.assertRaisesRegex(LookupError, 'not an asynchronous'):
            self.load(old_state(f'{SAMPLE}.undecorated')).f  # noqa: B018


class OldRecordTest(FunctionalTestCase):
    """Calls of gocept.async 0.3 in the database."""

    def overwrite(self, persistent, data):
        """Store a data record as it lies in an old database."""
        storage = persistent._p_jar.db()._mvcc_storage.new_instance()
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        storage.store(persistent._p_oid, persistent._p_serial, data, '', txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)
        storage.release()
        transaction.begin()
        self.assertIsNone(persistent._p_changed)
        self.root._p_jar.cacheMinimize()

    def store(self, principal=b'N', protocol=b'\x80\x02'):
        sample.context()
        transaction.commit()
        state = old_state(
            f'{SAMPLE}.record', old_reference(self.site), principal)
        self.overwrite(
            self.job().input,
            protocol + OLD_CLASS + b'.' + protocol + state + b'.')

    def setUp(self):
        super().setUp()
        self.site = add_site(self.root, 'site')
        transaction.commit()

    def test_is_run(self):
        """A record of the old class runs with its arguments."""
        for protocol in (b'\x80\x02', b''):
            with self.subTest(protocol):
                sample.calls.clear()
                self.store(protocol=protocol)
                process()
                self.assertEqual([((2, 7), {'c': 'd'})], sample.calls)
                self.assertEqual('completed', self.job().status)
                self.service.clean()

    def test_has_its_principal_and_site(self):
        """They are found again."""
        self.store(old_str('zope.user'))
        self.assertEqual('zope.user', self.job().input.principal)
        self.assertEqual(self.site, self.job().input.site)

    def test_principal_that_is_gone(self):
        """Old calls do not run as somebody else either."""
        self.store(old_str('gone'))
        process(raise_errors=False)
        self.assertEqual([], sample.calls)
        self.assertIn("'gone' no longer exists", self.job().error)


class RegisteredTest(FunctionalTestCase):
    """The one task of this package."""

    def test_is_a_task_of_that_name(self):
        """The published name is found in stored jobs."""
        self.assertEqual('gocept.async.function', TASK_NAME)
        found = zope.component.getUtility(ITask, name=TASK_NAME)
        self.assertIsInstance(found, AsyncFunction)
        self.assertIn(TASK_NAME, self.service.getAvailableTasks())

    def test_provides_its_interfaces(self):
        """See ITask and IInputCheck."""
        verifyObject(ITask, AsyncFunction())
        verifyObject(IInputCheck, AsyncFunction())

    def test_traceback(self):
        """It begins where the function does."""
        sample.fail('no')
        process(raise_errors=False)
        self.assertRegex(self.job().traceback,
                         r'\ATraceback [^\n]*\n  File [^\n]* in fail\n')


class RefusedTest(FunctionalTestCase):
    """What was not stored by a decorated function is refused."""

    def store(self, description):
        """Add a job past all checks, as a hostile or broken one may be."""
        sample.record()
        self.job().input = description

    def assertEnds(self, status, error, error_class):
        process(raise_errors=False)
        self.assertEqual([], sample.calls)
        self.assertEqual(status, self.job().status)
        self.assertRegex(self.job().error, error)
        self.assertEqual(error_class, self.job().errorClass)

    def test_other_input_is_refused_when_it_is_added(self):
        """Neither a function nor anything else can be sent."""
        @zope.interface.implementer(ITaskDescription)
        class Pretender(sample.Content):
            pass

        class Subclass(TaskDescription):
            pass

        for input in (None, sample.undecorated, 'os.system', Pretender(),
                      Subclass(sample.record, (), {})):
            with self.subTest(type(input).__name__), \
                    self.assertRaisesRegex(TypeError, type(input).__name__):
                self.service.add(TASK_NAME, input)
        self.assertEqual([], self.jobs())

    def test_other_input_is_refused_as_a_cron_job(self):
        """There is no way around the check."""
        with self.assertRaisesRegex(TypeError, TASK_NAME):
            self.service.addCronJob(TASK_NAME, 'os.system', minute=(1,))

    def test_other_input_is_refused_when_it_is_run(self):
        """However it got into the database."""
        self.store('os.system')
        self.assertEnds(
            'error', 'takes only calls.* not str', 'builtins.TypeError')

    def test_undecorated_function_is_refused_when_it_is_run(self):
        """It may have been decorated when the call was stored."""
        description = TaskDescription(sample.record, (), {})
        description._f = f'{SAMPLE}.undecorated'
        self.store(description)
        self.assertEnds(
            'held', 'sample.undecorated.*not an asynchronous function',
            'lovely.remotetask.interfaces.CannotRun')


class PrincipalTest(FunctionalTestCase):
    """A function runs as the principal who called it."""

    def run_context(self):
        sample.context()
        logout()
        process(raise_errors=False)

    def assertRanAs(self, principal_id):
        (principal, _), = sample.calls
        self.assertEqual(principal_id, principal.id)
        self.assertEqual('completed', self.job().status)

    def assertDidNotRun(self, error):
        self.assertEqual([], sample.calls)
        self.assertEqual('error', self.job().status)
        self.assertRegex(self.job().error, error)
        self.assertEqual('lovely.remotetask.task.TaskError',
                         self.job().errorClass)

    def test_the_one_who_called(self):
        """The principal is looked up anew, with its title and groups."""
        login('zope.user')
        self.run_context()
        self.assertRanAs('zope.user')
        authentication = zope.component.getUtility(
            zope.authentication.interfaces.IAuthentication)
        self.assertIs(
            authentication.getPrincipal('zope.user'), sample.calls[0][0])

    def test_not_the_one_who_is_there_when_it_runs(self):
        """The principal of the call counts, not a later one."""
        login('zope.user')
        sample.context()
        login('zope.manager')
        process()
        self.assertRanAs('zope.user')

    def test_nobody(self):
        """A call without an interaction runs without rights and id."""
        self.run_context()
        self.assertIsNone(self.job().input.principal)
        self.assertRanAs(None)

    def test_anonymous_visitor(self):
        """The unauthenticated principal has an id, and is found by it."""
        authentication = zope.component.getUtility(
            zope.authentication.interfaces.IAuthentication)
        zope.security.management.newInteraction(
            Participation(authentication.unauthenticatedPrincipal()))
        self.run_context()
        self.assertRanAs('zope.anybody')

    def test_anonymous_visitor_where_none_is_defined(self):
        """The publication's fallback is in no authentication."""
        fallback = zope.component.getUtility(
            zope.authentication.interfaces.IFallbackUnauthenticatedPrincipal)
        zope.security.management.newInteraction(Participation(fallback))
        self.run_context()
        self.assertRanAs(fallback.id)

    def test_system_user(self):
        """What the system itself has called runs as the system."""
        zope.security.management.newInteraction(Participation(system_user))
        self.run_context()
        self.assertRanAs(system_user.id)
        self.assertIs(system_user, sample.calls[0][0])

    def test_who_no_longer_exists(self):
        """The job fails with that reason; the function is not called."""
        login('zope.gone')
        self.run_context()
        self.assertDidNotRun("Principal 'zope.gone' no longer exists")

    def test_without_any_authentication(self):
        """Without IAuthentication nobody can be looked up."""
        login('zope.user')
        sample.context()
        manager = zope.component.getGlobalSiteManager()
        authentication = manager.getUtility(
            zope.authentication.interfaces.IAuthentication)
        provided = zope.authentication.interfaces.IAuthentication
        manager.unregisterUtility(authentication, provided)
        try:
            process(raise_errors=False)
        finally:
            manager.registerUtility(authentication, provided)
        self.assertDidNotRun('there is no IAuthentication utility')

    def test_who_is_known_in_a_site_only(self):
        """The authentication of the call's site is asked."""
        site = add_site(self.root, 'site')
        site['authentication'] = LocalAuthentication()
        site.getSiteManager().registerUtility(
            site['authentication'],
            zope.authentication.interfaces.IAuthentication)
        with zope.component.hooks.site(site):
            zope.security.management.newInteraction(
                Participation(Principal('local.user')))
            self.run_context()
        self.assertRanAs('local.user')
        self.assertEqual('Known here only', sample.calls[0][0].title)

    def test_who_is_known_in_another_site_only(self):
        """The same id means nothing where it is not known."""
        login('local.user')
        self.run_context()
        self.assertDidNotRun("'local.user' no longer exists")


class SiteTest(FunctionalTestCase):
    """A function runs in the site in which it was called."""

    def setUp(self):
        super().setUp()
        self.site = add_site(self.root, 'site')
        transaction.commit()

    def call_in_site(self):
        with zope.component.hooks.site(self.site):
            sample.context()

    def assertRanIn(self, site):
        (_, found), = sample.calls
        self.assertEqual(site._p_oid, found._p_oid)

    def assertDidNotRun(self):
        process(raise_errors=False)
        self.assertEqual([], sample.calls)
        self.assertEqual('error', self.job().status)
        self.assertRegex(self.job().error, 'site .* is gone')

    def test_the_root_folder(self):
        """The usual site."""
        sample.context()
        process()
        self.assertRanIn(self.root)

    def test_a_site_below(self):
        """The service of the root folder runs calls of all sites."""
        self.call_in_site()
        process()
        self.assertRanIn(self.site)

    def test_not_the_site_of_the_moment(self):
        """It does not matter where the processor happens to be."""
        sample.context()
        transaction.commit()
        with zope.component.hooks.site(self.site):
            process()
        self.assertRanIn(self.root)

    def test_none(self):
        """A call without a site runs in that of its service."""
        description = TaskDescription(sample.context, (), {})
        description.site = None
        self.service.add(TASK_NAME, description)
        process()
        self.assertRanIn(self.root)

    def test_that_was_removed(self):
        """The job fails with that reason; the function is not called."""
        self.call_in_site()
        del self.root['site']
        self.assertDidNotRun()

    def test_that_was_removed_with_what_contains_it(self):
        """A site below a removed folder is gone as well."""
        self.root['folder'] = Folder()
        self.site = add_site(self.root['folder'], 'site')
        transaction.commit()
        self.call_in_site()
        del self.root['folder']
        self.assertDidNotRun()

    def test_that_was_moved(self):
        """A site that has another place is still the same."""
        self.call_in_site()
        site = self.site
        del self.root['site']
        self.root['moved'] = site
        process()
        self.assertRanIn(self.site)


class RestoredTest(FunctionalTestCase):
    """Interaction and site are afterwards what they were before."""

    def call(self, function, *args):
        """Call the task directly, as TaskService.process does."""
        login('zope.user')
        description = TaskDescription(function, args, {})
        site = add_site(self.root, 'site')
        login('zope.manager')
        zope.component.hooks.setSite(site)
        self.before = self.context()
        return AsyncFunction()(self.service, 1, description)

    def context(self):
        return (zope.security.management.getInteraction(),
                zope.component.hooks.getSite())

    def test_after_a_function_that_returns(self):
        """Inside they were those of the call."""
        self.call(sample.context)
        (principal, site), = sample.calls
        self.assertEqual('zope.user', principal.id)
        self.assertEqual(self.root, site)
        self.assertEqual(self.before, self.context())

    def test_after_a_function_that_raises(self):
        """An exception changes nothing of it."""
        with self.assertRaises(RuntimeError):
            self.call(sample.fail, 'oops')
        self.assertEqual(self.before, self.context())

    def test_after_a_call_that_was_refused(self):
        """Nor does an error before the function is called."""
        login('gone')
        description = TaskDescription(sample.record, (), {})
        login('zope.manager')
        zope.component.hooks.setSite(None)
        before = self.context()
        with self.assertRaises(TaskError):
            AsyncFunction()(self.service, 1, description)
        self.assertEqual(before, self.context())

    def test_after_a_job(self):
        """Also around the whole job, and where there was nothing before."""
        login('zope.user')
        sample.fail('oops')
        logout()
        transaction.commit()
        process(raise_errors=False)
        self.assertIsNone(zope.security.management.queryInteraction())
        self.assertEqual(self.root, zope.component.hooks.getSite())

    def test_interaction_of_a_job_that_runs_another(self):
        """Nested calls give the outer one its interaction back."""
        login('zope.user')
        outer = TaskDescription(sample.context, (), {})
        login('zope.manager')
        inner = TaskDescription(sample.context, (), {})
        logout()
        with interaction(Participation(Principal('first'))):
            for description in (outer, inner):
                AsyncFunction()(self.service, 1, description)
                self.assertEqual('first', task.TaskDescription.get_principal())
        self.assertEqual(
            ['zope.user', 'zope.manager'],
            [principal.id for principal, _ in sample.calls])
