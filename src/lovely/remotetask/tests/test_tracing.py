"""A trace goes on in the jobs that were added in it."""

import subprocess
import sys
import time
import unittest
import unittest.mock

import transaction
from opentelemetry import trace
from ZODB.POSException import ConflictError

from gocept.async_.tests.interpreter import environment
from lovely.remotetask import moment
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import tracing
from lovely.remotetask.tests.fixture import DatabaseCase


TRACE, SPAN = 0xabc, 0xdef
TRACEPARENT = f'00-{TRACE:032x}-{SPAN:016x}-01'


class Span(trace.NonRecordingSpan):
    """Remembers what it is told."""

    def __init__(self, name, context, kind, links, attributes):
        parent = trace.get_current_span(context).get_span_context()
        self.parent = parent if parent.is_valid else None
        number = parent.trace_id if parent.is_valid else 1
        super().__init__(trace.SpanContext(number, id(self), False))
        self.name, self.kind, self.links = name, kind, links
        self.attributes = dict(attributes)
        self.status = None
        self.ends = 0

    def set_attribute(self, key, value):
        self.attributes[key] = value

    def set_status(self, status, description=None):
        assert description is None
        self.status = status

    def record_exception(self, *args, **kw):
        raise AssertionError('The message may hold arguments.')

    def end(self, end_time=None):
        self.ends += 1


class Tracer:

    def __init__(self):
        self.spans = []

    def start_span(self, name, context, kind, links, attributes):
        self.spans.append(Span(name, context, kind, links, attributes))
        return self.spans[-1]


def active(number=TRACE, flags=1):
    """Return a context manager: a span of a request is active."""
    return trace.use_span(trace.NonRecordingSpan(trace.SpanContext(
        number, SPAN, False, trace.TraceFlags(flags))))


class TracingCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.tracer = Tracer()
        self.enterContext(unittest.mock.patch.object(
            trace, 'get_tracer', lambda name: self.tracer))
        self.seen = []
        self.task(self.see)

    def see(self, input):
        self.seen.append(trace.get_current_span())
        if isinstance(input, BaseException):
            raise input
        return input

    def run_all(self):
        while self.processor().processNext():
            pass


class ParentTest(TracingCase):

    def test_request(self):
        """The span of the job has that of the request as its parent."""
        with active():
            jobid = self.add('test.task')
        self.assertEqual(TRACEPARENT, self.job(jobid).trace)
        self.run_all()
        span, = self.tracer.spans
        self.assertEqual((TRACE, SPAN, True), (
            span.parent.trace_id, span.parent.span_id,
            span.parent.is_remote))
        self.assertEqual({
            'gocept.async.service': 'tasks',
            'gocept.async.function': 'test.task',
            'gocept.async.job': jobid,
            'gocept.async.attempt': 1}, span.attributes)
        self.assertEqual((1, None), (span.ends, span.status))
        self.assertEqual([span], self.seen)

    def test_not_sampled(self):
        """Whoever has decided that a trace is not kept has decided it."""
        with active(flags=0):
            self.add('test.task')
        self.run_all()
        self.assertEqual(0, self.tracer.spans[0].parent.trace_flags)

    def test_no_request(self):
        """A job that was added outside any trace begins one."""
        jobid = self.add('test.task')
        self.assertNotIn('trace', vars(self.job(jobid)))
        with active():
            # That of whoever happens to run it is another one.
            self.run_all()
        self.assertIsNone(self.tracer.spans[0].parent)

    def test_attempts(self):
        """Each attempt is a span, and the class of its error is told."""
        self.service.policy = Policy(
            attempts=2, retry_wait=0.0, retry_on=('builtins.OSError',))
        with active():
            self.add('test.task', OSError('private'))
        with moment.at(None):
            self.run_all()
        first, second = self.tracer.spans
        for number, span in (1, first), (2, second):
            self.assertEqual(number, span.attributes['gocept.async.attempt'])
            self.assertEqual('builtins.OSError', span.attributes['error.type'])
            self.assertEqual(trace.StatusCode.ERROR, span.status)
            self.assertEqual((TRACE, 1), (span.parent.trace_id, span.ends))
            self.assertNotIn('private', repr(vars(span)))

    def test_cron(self):
        """A run of a cron job begins a trace, and refers to its caller's."""
        with active():
            self.service.addCronJob('test.task', None, minute=(0,))
        transaction.commit()
        made = self.processor()
        now = time.time()
        self.assertIsNone(made.claimNextJob(now))
        self.assertTrue(made.processNext(made.claimNextJob(now + 7200)))
        span = self.tracer.spans[0]
        self.assertIsNone(span.parent)
        self.assertEqual(TRACE, span.links[0].context.trace_id)

    def test_jobs_of_jobs(self):
        """What a job adds is a part of the same trace."""
        added = []

        def add(service, input):
            added.append(service.add('test.task'))
        self.service_task(add, 'test.adder')
        with active():
            self.add('test.adder')
        self.run_all()
        first, second = self.tracer.spans
        self.assertEqual(first.get_span_context().span_id,
                         second.parent.span_id)

    def test_direct(self):
        """Also a job that its caller runs himself."""
        with active():
            self.add('test.task')
        self.assertTrue(self.service.processNext())
        self.assertEqual(TRACE, self.tracer.spans[0].parent.trace_id)

    def test_conflict_at_commit(self):
        """What fails at the commit has failed for the span, too."""
        self.add('test.task')
        made = self.processor()
        jobid = made.claimNextJob()
        with unittest.mock.patch.object(
                made.gate, 'commit', side_effect=ConflictError):
            made._execute(made._stepwise[jobid])
        self.assertEqual(trace.StatusCode.ERROR, self.tracer.spans[0].status)


class FaultTest(TracingCase):
    """No job fails for its trace."""

    def test_stored_texts(self):
        """What is no traceparent begins a trace; nothing else happens."""
        for stored in ('', 'x', TRACEPARENT + '\n', 5, ['00'], None,
                       f'00-{0:032x}-{1:016x}-01', f'00-{1:032x}-{0:016x}-01',
                       f'ff-{1:032x}-{1:016x}-01', TRACEPARENT.upper()):
            with self.subTest(stored):
                del self.tracer.spans[:]
                jobid = self.add('test.task')
                self.job(jobid).trace = stored
                transaction.commit()
                self.run_all()
                self.assertEqual('completed', self.job(jobid).status)
                self.assertIsNone(self.tracer.spans[0].parent)

    def test_tracer_that_fails(self):
        """Whatever of it fails, the job does not."""
        self.processor().processNext()
        for name in 'start_span', 'end', 'get_span_context':
            owner = self.tracer if name == 'start_span' else Span
            with self.subTest(name), unittest.mock.patch.object(
                    owner, name, side_effect=OSError('away')):
                jobid = self.add('test.task')
                self.run_all()
                self.assertEqual('completed', self.job(jobid).status)

    def test_span_that_cannot_be_asked(self):
        """A job is added without a trace then."""
        with unittest.mock.patch.object(
                trace, 'get_current_span', side_effect=OSError('away')):
            jobid = self.add('test.task')
        self.assertIsNone(self.job(jobid).trace)

    def test_size(self):
        """Without a trace nothing more is stored."""
        jobid = self.add('test.task')
        self.assertNotIn('trace', vars(self.job(jobid)))


class WithoutTest(unittest.TestCase):

    def test_nothing_is_imported(self):
        """Whoever has no traces does not pay for them."""
        subprocess.run([sys.executable, '-c', 'import sys\n'
                        'import lovely.remotetask.service\n'
                        'import gocept.async_.worker.process\n'
                        'from lovely.remotetask.running import tracing\n'
                        'assert tracing.current() is None\n'
                        'assert not any(name.startswith("opentelemetry")\n'
                        '               for name in sys.modules)'],
                       env=environment(), check=True, timeout=60)

    def test_without_the_extra(self):
        with unittest.mock.patch.dict(sys.modules):
            del sys.modules['opentelemetry.trace']
            self.assertIsNone(tracing.current())
            with tracing.Span('s', 'f', None, TRACEPARENT, False):
                pass
