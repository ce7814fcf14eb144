"""Decorated functions, given to a service in place of a task's name."""

import collections
import http

import transaction

from gocept.async_.crons.function import check
from gocept.async_.task import TASK_NAME
from gocept.async_.testing import login
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.tests.fixture import logged


HOUR = 3600

Point = collections.namedtuple('Point', 'x y')


class AddCronJobTest(FunctionalTestCase):

    def test_runs_as_whoever_has_added_it(self):
        """In the site of then, again and again."""
        login('zope.user')
        self.service.addCronJob(sample.context, minute='*/30')
        transaction.commit()
        process(after=HOUR)
        self.assertEqual(
            [('zope.user', self.root._p_oid)] * 2,
            [(principal.id, site._p_oid) for principal, site in sample.calls])
        job = self.job()
        self.assertEqual((CRONJOB, (0, 30), TASK_NAME, 'zope.user'),
                         (job.status, job.minute, job.task, job.principal))

    def test_once_after_a_delay(self):
        self.service.addCronJob(sample.record, delay=60)
        self.service.add(sample.record, delay=50)
        self.assertEqual([DELAYED, 'queued'], sorted(
            job.status for job in self.jobs()))
        process(after=100)
        self.assertEqual([((), {})] * 2, sample.calls)

    def test_arguments(self):
        """A tuple, or a dict; copied, as those of a call."""
        given = [1]
        self.service.addCronJob(sample.record, (given, 2), hour=2)
        self.service.addCronJob(sample.record, {'a': given}, hour='2')
        self.service.add(sample.record, (given,))
        given.append(2)
        process(after=24 * HOUR)
        for expected in (([1], 2), {}), ((), {'a': [1]}), (([1],), {}):
            self.assertIn(expected, sample.calls)

    def test_arguments_belong_to_the_call(self):
        """The caller may use his dict for another one."""
        given = {}
        for name in 'books', 'cds':
            given['name'] = name
            self.service.add(sample.record, given)
        given['name'] = lambda: None
        process()
        self.assertEqual(
            [((), {'name': 'books'}), ((), {'name': 'cds'})], sample.calls)

    def test_arguments_of_derived_classes(self):
        """A named tuple, a counter: what is stored is plain."""
        for given, expected in (
                (Point(1, 2), ((1, 2), {})),
                (collections.OrderedDict(a=1), ((), {'a': 1})),
                (collections.Counter('a'), ((), {'a': 1})),
                ({http.HTTPMethod.GET: 1}, ((), {'GET': 1}))):
            with self.subTest(given):
                sample.calls.clear()
                call = self.service.jobs[
                    self.service.add(sample.record, given)].input
                self.assertEqual(
                    [tuple, dict], [type(call.args), type(call.kwargs)])
                self.assertLessEqual(set(map(type, call.kwargs)), {str})
                process()
                self.assertEqual([expected], sample.calls)

    def test_failed(self):
        """That is an error in the log, though it waits for its next time."""
        cron = self.service.addCronJob(sample.fail, ('no',), hour=2)
        with logged('lovely.remotetask.running.execution') as lines:
            process(raise_errors=False, after=24 * HOUR)
        line, = lines
        self.assertRegex(line, rf'(?s)^ERROR .*/{cron}: failed .*Traceback')
        self.assertEqual(CRONJOB, self.service.jobs[cron].status)

    def test_decorators_above_and_below(self):
        for function in (sample.announced_when_run,
                         sample.announced_when_called):
            sample.calls.clear()
            self.service.add(function, ('x',))
            process()
            self.assertEqual(('x',), sample.calls[-1])

    def test_decorator_that_supplies_an_argument(self):
        """Without it the function could not be called again and again."""
        self.assertEqual(f'{sample.__name__}.supplied_when_run',
                         check(sample.supplied_when_run))
        with self.assertRaisesRegex(ValueError, "'session'"):
            check(sample.supplied_when_called.__wrapped__)

    def test_arguments_that_do_not_fit(self):
        """It is said when the job is added; nothing is stored."""
        for function, given, error in (
                (sample.add, None, 'missing'),
                (sample.add, {'a': 1, 'c': 1}, 'c'),
                (sample.record, 'text', r'write \(argument,\)'),
                (sample.record, [1], r'write \(argument,\)'),
                (sample.record, (lambda: None,), 'argument 1'),
                (sample.record, (transaction,), 'argument 1')):
            for add in (self.service.add, self.service.addCronJob):
                with self.subTest(given), self.assertRaisesRegex(
                        TypeError, error):
                    add(function, given)
        for function in (sample.anonymous, sample.make_nested(),
                         sample.first_shadowed):
            with self.assertRaises(LookupError):
                self.service.addCronJob(function, hour=2)
        with self.assertRaisesRegex(ValueError, 'hour must be'):
            self.service.addCronJob(sample.record, hour='24')
        self.assertEqual([], self.jobs())

    def test_what_is_no_task(self):
        """The published message, and what to do."""
        for given in (sample.undecorated, sample.hidden, print, None, 5,
                      object()):
            for add in (self.service.add, self.service.addCronJob):
                with self.assertRaisesRegex(
                        ValueError, '^Task does not exist: .*decorated'):
                    add(given)
        with self.assertRaisesRegex(ValueError, '^Task does not exist$'):
            self.service.addCronJob('no.such', hour=2)
