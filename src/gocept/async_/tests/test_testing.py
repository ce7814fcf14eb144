"""Tests of gocept.async_.testing."""

import contextlib
import datetime
import decimal
import io
import threading
import unittest
import unittest.mock

import transaction
import webtest
import zope.component
import zope.component.hooks
import zope.security.management
from zope.app.wsgi.testlayer import BrowserLayer

import gocept.async_.testing
import gocept.async_.tests
from gocept.async_.task import TaskDescription
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.processor import service_path
from lovely.remotetask.testing import TaskServiceStub


# As an application makes its own.
APPLICATION_LAYER = BrowserLayer(
    gocept.async_.tests, 'application.zcml', name='APPLICATION_LAYER',
    allowTearDown=True)


class PublishedTest(unittest.TestCase):
    """What tests of applications import."""

    def test_layer(self):
        """The layer can be torn down, so that the runner need not fork."""
        self.assertIsInstance(FUNCTIONAL_LAYER, BrowserLayer)
        self.assertTrue(FUNCTIONAL_LAYER.allowTearDown)

    def test_helpers_are_in_the_tests_package_too(self):
        """The old name of the helpers."""
        for name in ('process', 'login', 'logout'):
            self.assertIs(getattr(gocept.async_.testing, name),
                          getattr(gocept.async_.tests, name))


class ProcessTest(FunctionalTestCase):
    """Run queued jobs in a test."""

    def test_commits(self):
        """What the test has changed is stored before."""
        self.root['content'] = sample.Content()
        sample.record(1)
        process()
        transaction.abort()
        self.assertIn('content', self.root)
        self.assertEqual('completed', self.job().status)

    def test_runs_all_jobs_in_their_order(self):
        """The oldest first."""
        for number in range(3):
            sample.record(number)
        process()
        self.assertEqual([0, 1, 2], [args[0] for args, _ in sample.calls])

    def test_shows_what_the_jobs_have_changed(self):
        """The objects of the test are up to date afterwards."""
        self.root['content'] = content = sample.Content()
        sample.change(content, 'changed')
        process()
        self.assertEqual('changed', content.value)

    def test_shows_prints(self):
        """Jobs run in the test's own thread."""
        sample.say('hello')
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            process()
        self.assertEqual('hello\n', printed.getvalue())

    def test_runs_jobs_that_jobs_have_added(self):
        """Until there are none."""
        sample.queue_another()
        process()
        self.assertEqual(['first', (('second',), {})], sample.calls)
        self.assertEqual(
            ['completed'] * 2, [job.status for job in self.jobs()])

    def test_what_falls_within_an_hour(self):
        """A job that delays itself is run each minute, and no longer."""
        sample.every_minute('tick')
        process(after=3600)
        self.assertEqual(61, len(sample.calls))

    def test_in_the_order_of_time(self):
        """Also with others in between, and from where it was left off."""
        sample.every_minute('tick')
        sample.record.enqueue_with(delay=90)('between')
        process(after=125)
        self.assertEqual(
            ['tick', 'tick', (('between',), {}), 'tick'], sample.calls)

    def test_a_cron_job(self):
        """It is run as often as its pattern says."""
        jobid = self.service.addCronJob('echo', 'input')
        process()
        process(after=600)
        transaction.begin()
        self.assertIn(len(self.service.jobs[jobid].history), (9, 10, 11))

    def history(self, jobid):
        transaction.begin()
        return self.service.jobs[jobid].history

    def test_a_cron_job_that_was_just_added(self):
        """Its first time counts from here; nothing is run before."""
        jobid = self.service.addCronJob('echo', 'input')
        process(after=600)
        self.assertIn(len(self.history(jobid)), (9, 10, 11))

    def test_a_delay_of_a_cron_job_that_was_just_added(self):
        """It ends within the time that is given, and not before."""
        for delay in (600, 0.5, 1, 90.25):
            jobid = self.service.addCronJob('echo', 'input', delay=delay)
            process(after=delay - 0.4)
            process(after=delay)
            with self.subTest(delay):
                self.assertEqual(1, len(self.history(jobid)))

    def test_a_cron_job_behind_the_time(self):
        """It stays for the next time."""
        jobid = self.service.addCronJob('echo', 'input', delay=600)
        process(after=590)
        self.assertEqual(0, len(self.history(jobid)))
        other = self.service.add('echo', delay=660)
        process(after=600)
        self.assertEqual([1, 0], [
            len(self.history(each)) for each in (jobid, other)])

    def test_a_cron_job_that_a_job_adds(self):
        """It counts from the time of that job."""
        sample.add_cron_job.enqueue_with(delay=300)(delay=60)
        process(after=360.1)
        cron, = (job for job in self.jobs() if job.task == 'echo')
        self.assertEqual('completed', cron.status)

    def test_a_job_that_delays_itself(self):
        """It ends with the time that is given, also without any."""
        for delay, after, times in (
                (0.5, 0, 1), (0.25, 1, 5), (600, 3599, 6)):
            sample.calls.clear()
            sample.again_without_end(delay)
            process(after=after)
            for job in self.jobs():
                self.service.cancel(job.id)
            transaction.commit()
            with self.subTest(delay):
                self.assertEqual(times, len(sample.calls))

    def test_a_job_that_enqueues_itself_without_end(self):
        """That is said, instead of going on for ever."""
        for delay, after in ((None, 0), (0, 3600), (None, 3600)):
            sample.calls.clear()
            sample.again_without_end(delay)
            with unittest.mock.patch('gocept.async_.testing.ROUNDS', 5), \
                    self.assertRaisesRegex(AssertionError, 'without end'):
                process(after=after, raise_errors=False)
            for job in self.jobs():
                self.service.cancel(job.id)
            with self.subTest(delay=delay, after=after):
                self.assertEqual(6, len(sample.calls))

    def test_jobs_that_enqueue_jobs_with_an_end(self):
        """However many there are, rounds are counted."""
        for _ in range(20):
            sample.chain(4)
        with unittest.mock.patch('gocept.async_.testing.ROUNDS', 6):
            process()
        self.assertEqual(100, len(sample.calls))

    def test_job_that_aborts_its_transaction(self):
        """It has lost what it did, and that is noticed."""
        self.root['content'] = content = sample.Content()
        for end in ('abort', 'begin'):
            sample.change_and_end(content, end)
            with self.subTest(end), self.assertRaisesRegex(
                    AssertionError, 'has aborted the transaction'):
                process()
            self.assertFalse(hasattr(content, 'value'))

    def test_job_that_aborts_its_transaction_on_purpose(self):
        """The log says it, as in production."""
        self.root['content'] = content = sample.Content()
        sample.change_and_end(content, 'abort')
        with self.assertLogs('lovely.remotetask', 'WARNING') as logged:
            process(raise_errors=False)
        self.assertIn('has aborted the transaction', logged.output[0])
        self.assertEqual('completed', self.job().status)

    def test_raises_for_a_job_that_failed(self):
        """The AssertionError shows the traceback of the job."""
        sample.fail('no such thing')
        with self.assertRaises(AssertionError) as raised:
            process()
        message = str(raised.exception)
        self.assertIn(f'Job {self.job().id} ', message)
        self.assertIn("'events'", message)
        self.assertIn('RuntimeError: no such thing', message)
        self.assertIn('raise RuntimeError(message)', message)
        self.assertEqual('error', self.job().status)

    def test_stops_at_the_first_error(self):
        """The jobs behind it can be run by calling it again."""
        sample.fail('first')
        sample.record('second')
        with self.assertRaisesRegex(AssertionError, 'first'):
            process()
        self.assertEqual([], sample.calls)
        process()
        self.assertEqual([(('second',), {})], sample.calls)

    def test_raises_nothing_if_asked(self):
        """All jobs are run; their errors are stored on them."""
        sample.fail('first')
        sample.record('second')
        process(raise_errors=False)
        self.assertEqual([(('second',), {})], sample.calls)
        self.assertEqual(
            ['completed', 'error'], sorted(job.status for job in self.jobs()))

    def test_only_the_service_asked_for(self):
        """Jobs of other services stay queued."""
        other = add_service(self.root, '', 'unnamed')
        sample.default_service()
        sample.record()
        process()
        self.assertEqual([((), {})], sample.calls)
        job, = other.jobs.values()
        self.assertEqual('queued', job.status)

    def test_without_jobs(self):
        """Nothing happens."""
        process()
        self.assertEqual([], self.jobs())

    def test_unknown_service(self):
        """The error names it."""
        with self.assertRaisesRegex(LookupError, 'nothing'):
            process('nothing')

    def test_service_that_was_not_created(self):
        """It is said why not, also where no database was opened."""
        declare(self, 'mail', site='/shop')
        with self.assertRaisesRegex(LookupError, 'there is no /shop'):
            process('mail')
        zope.component.hooks.setSite(None)
        with unittest.mock.patch('lovely.remotetask.startup._opened', None), \
                self.assertRaisesRegex(LookupError, 'no current site'):
            process('mail')

    def test_service_that_is_not_stored(self):
        """It is said what to call instead."""
        stub = TaskServiceStub()
        zope.component.provideUtility(stub, ITaskService, 'stub')
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterUtility,
            stub, ITaskService, 'stub')
        with self.assertRaisesRegex(
                ValueError, "'stub' is not stored .*its own process"):
            process('stub')

    def test_no_length_of_time(self):
        """Nothing is committed."""
        for after in (-1, float('nan'), None, True, '60', decimal.Decimal(60),
                      datetime.timedelta(hours=1)):
            self.root.committed = True
            with self.subTest(after), self.assertRaisesRegex(
                    ValueError, 'after must be a number of seconds'):
                process(after=after)
            transaction.abort()
            self.assertFalse(hasattr(self.root, 'committed'))

    def test_no_name(self):
        """Nothing is committed; it is said that a name is wanted."""
        for name in (None, b'events', self.service):
            self.root.committed = True
            for call in (process, gocept.async_.service):
                with self.subTest(type(name)), self.assertRaisesRegex(
                        ValueError, 'by its name, a text like "events", not'):
                    call(name)
            transaction.abort()
            self.assertFalse(hasattr(self.root, 'committed'))

    def test_for_ever(self):
        """All that waits for a time is run."""
        for after in (float('inf'), 10 ** 400):
            sample.record.enqueue_with(delay=10 ** 8)()
            self.service.addCronJob('echo', delay=10 ** 7)
            process(after=after)
            with self.subTest(type(after)):
                self.assertEqual({'completed'},
                                 {job.status for job in self.jobs()})

    def retry(self, wait):
        """Let jobs be tried again, as late as that can be."""
        declare(self, 'events', retry_wait=wait,
                retry_on=f'{sample.__name__}.NotNow')
        patch = unittest.mock.patch('random.uniform', lambda low, high: high)
        patch.start()
        self.addCleanup(patch.stop)

    def test_another_attempt_brings_no_other_job_forward(self):
        """What is not due stays where it is."""
        self.retry(3600)
        sample.succeed_at(2)
        others = [sample.record.enqueue_with(delay=60)('remind'),
                  self.service.addCronJob('echo', minute=(0,)),
                  self.service.addCronJob('echo', delay=600)]
        process()
        self.assertEqual(['attempt'] * 2, sample.calls)
        self.assertEqual(
            ['queued', 'cronjob', 'delayed'],
            [self.service.jobs[each].status for each in others])
        self.assertEqual(1, self.service.counts()['queued'])

    def test_another_attempt_beyond_the_time_that_is_given(self):
        """The other jobs beyond that time stay where they are."""
        self.retry(3600)
        sample.succeed_at(2)
        for delay in (60, 180):
            sample.record.enqueue_with(delay=delay)(delay)
        process(after=120)
        self.assertEqual(['attempt', ((60,), {}), 'attempt'], sample.calls)

    def test_another_attempt_within_the_time_that_is_given(self):
        """It has its place in the order of time."""
        self.retry(100)
        sample.succeed_at(2)
        for delay in (60, 180):
            sample.record.enqueue_with(delay=delay)(delay)
        process(after=200)
        self.assertEqual(
            ['attempt', ((60,), {}), 'attempt', ((180,), {})], sample.calls)

    def test_another_attempt_of_a_cron_job(self):
        """It waits for its next time afterwards."""
        self.retry(3600)
        jobid = self.service.addCronJob(sample.succeed_at, (2,))
        process(after=60)
        self.assertEqual(['attempt'] * 2, sample.calls)
        job = self.service.jobs[jobid]
        self.assertEqual('cronjob', job.status)
        self.assertGreater(job.due, job.history[-1].started)

    def test_the_time_of_another_attempt(self):
        """It is the one at which it was due, whatever is given."""
        self.retry(3600)
        for after in (60, 7200):
            sample.calls.clear()
            jobid = sample.succeed_at.enqueue(2)
            process(after=after)
            first, second = self.history(jobid)
            with self.subTest(after):
                self.assertAlmostEqual(
                    3600, second.started - first.started, delta=1)

    def test_jobs_that_another_attempt_adds(self):
        """They are run as well, and not at an earlier time."""
        self.retry(3600)
        for after in (0, 60):
            sample.calls.clear()
            sample.fail_and_go_on()
            process(after=after)
            with self.subTest(after):
                self.assertEqual(
                    ['fail', 'go on', (('next',), {})], sample.calls)
                *_, job = self.jobs()
                self.assertGreaterEqual(job.started, job.created)

    def test_attempts_that_enqueue_jobs_without_end(self):
        """That is said, though time seems to pass."""
        self.retry(3600)
        for after in (0, 60):
            sample.calls.clear()
            sample.fail_and_go_on(times=50)
            with unittest.mock.patch('gocept.async_.testing.ROUNDS', 5), \
                    self.subTest(after), \
                    self.assertRaisesRegex(AssertionError, 'without end'):
                process(after=after)
            for job in self.jobs():
                self.service.cancel(job.id)

    def test_an_attempt_of_a_service_that_is_paused(self):
        """It waits until the service goes on."""
        self.retry(3600)
        sample.succeed_at(2)
        transaction.commit()
        SimpleProcessor(self.root._p_jar.db(),
                        service_path(self.service)).processNext()
        transaction.begin()
        self.service.paused = True
        process()
        self.assertEqual(['attempt'], sample.calls)
        self.service.paused = False
        process()
        self.assertEqual('completed', self.job().status)

    def test_same_path_as_in_a_processor(self):
        """A job must not commit here either."""
        sample.commit()
        with self.assertRaisesRegex(AssertionError, 'must not commit'):
            process()

    def test_interaction_of_the_test_stays(self):
        """It does not matter who is logged in, and stays so."""
        login('zope.manager')
        sample.record()
        process()
        self.assertEqual('zope.manager', TaskDescription.get_principal())
        self.assertEqual(self.root, zope.component.hooks.getSite())


class LoginTest(FunctionalTestCase):
    """Be somebody in a test."""

    def test_login(self):
        """The principal is the one of the application."""
        login('zope.user')
        self.assertEqual('zope.user', TaskDescription.get_principal())
        self.assertEqual('User', sample.current_principal().title)

    def test_login_again(self):
        """One can change without a logout."""
        login('zope.user')
        login('zope.manager')
        self.assertEqual('zope.manager', TaskDescription.get_principal())

    def test_login_of_somebody_unknown(self):
        """To see what happens to principals that are gone."""
        login('gone')
        self.assertEqual('gone', TaskDescription.get_principal())

    def test_logout(self):
        """There is no interaction left."""
        login('zope.user')
        logout()
        self.assertIsNone(zope.security.management.queryInteraction())

    def test_logout_twice(self):
        """Logging out when nobody is logged in is no error."""
        logout()
        logout()
        self.assertIsNone(zope.security.management.queryInteraction())


class LoginWithoutApplicationTest(unittest.TestCase):
    """Be somebody without any layer."""

    def test_login(self):
        """No authentication is needed."""
        self.addCleanup(logout)
        login('joe')
        self.assertEqual('joe', TaskDescription.get_principal())


class ApplicationTest(unittest.TestCase):
    """Tests of an application that declares services."""

    layer = APPLICATION_LAYER

    def setUp(self):
        sample.calls.clear()
        self.addCleanup(zope.component.hooks.setSite, None)
        self.root = self.layer.getRootFolder()
        self.browser = webtest.TestApp(self.layer.make_wsgi_app())

    def service(self, name):
        return zope.component.getUtility(ITaskService, name, self.root)

    def test_services_exist_and_nothing_is_started(self):
        """Neither by opening the database nor by requests."""
        self.browser.get('/@@compute')
        for name in ('events', 'by hand'):
            self.assertFalse(self.service(name).isProcessing())
        self.assertEqual(
            [], [thread.name for thread in threading.enumerate()
                 if thread.name.startswith('remotetasks')])
        self.assertEqual([], sample.calls)

    def test_request_of_a_user(self):
        """A page starts a computation; it runs as the user, in the site."""
        self.browser.authorization = ('Basic', ('user', 'userpw'))
        self.assertEqual('started', self.browser.get('/@@compute').text)
        process()
        (principal, site), = sample.calls
        self.assertEqual('zope.user', principal.id)
        self.assertEqual(self.root._p_oid, site._p_oid)

    def test_request_of_an_anonymous_visitor(self):
        """It runs as the unauthenticated principal."""
        self.browser.get('/@@compute')
        process()
        (principal, _), = sample.calls
        self.assertEqual('zope.anybody', principal.id)

    def test_each_test_has_fresh_services(self):
        """Twice, so that one of them would see the other's job."""
        self.assertEqual(0, len(self.service('events').jobs))
        zope.component.hooks.setSite(self.root)
        sample.record()
        transaction.commit()

    test_each_test_has_fresh_services_again = test_each_test_has_fresh_services
