"""Records that today's code cannot read, or cannot run."""

import decimal
import fractions

from gocept.async_.tests.hostile import jobs
from gocept.async_.tests.hostile.kinds import REFUSED
from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD


# The names of the tasks are those of jobs.register.
RAW = 'hostile.raw'


def nothing(call):
    """Is not called, or does no harm."""


def old(name, add, *ends, calls=0):
    """Enter a kind of job that yesterday's code adds."""
    made = type(nothing)(nothing.__code__, globals(), name)
    made.__module__ = __name__
    kind(*(ends or (HELD,)), calls=calls, old=True, add=add, most=2)(made)


def with_argument(module, name, *args):
    """Return what adds a call with an argument of such a class."""
    def add(request):
        class_ = getattr(__import__(module), name)
        return jobs.take.enqueue(request.name, class_(*args))
    return add


def of_function(module, name):
    def add(request):
        return getattr(__import__(module), name).enqueue(request.name)
    return add


def plain(module, name, *args):
    """Return what adds a job of a plain task, with such an input."""
    def add(request):
        class_ = getattr(__import__(module), name)
        return request.service.add(RAW, [request.name, class_(*args)])
    return add


old('class_is_gone', with_argument('hostile_gone', 'Order'))
old('enum_is_gone', with_argument('hostile_gone', 'Level', 9))
old('text_class_is_gone', with_argument('hostile_gone', 'Text', 'x'))
old('exception_class_is_gone', with_argument('hostile_gone', 'Odd', 'x'))
old('class_has_more_fields', with_argument('hostile_shop', 'Item', 'x'))
old('class_refuses_state', with_argument('hostile_shop', 'Moody'))
old('class_exits', with_argument('hostile_shop', 'Leaver'))
old('class_interrupts', with_argument('hostile_shop', 'Interrupter'))
old('class_is_function', with_argument('hostile_shop', 'Interloper'))
old('plain_class_is_gone', plain('hostile_gone', 'Order'))
old('plain_enum_is_gone', plain('hostile_gone', 'Level', 9))
old('plain_class_refuses_state', plain('hostile_shop', 'Moody'))
old('plain_class_exits', plain('hostile_shop', 'Leaver'))
old('plain_class_interrupts', plain('hostile_shop', 'Interrupter'))
old('plain_class_has_more_fields', plain('hostile_shop', 'Item', 'x'))
old('plain_module_raises', plain('hostile_import_raises', 'Order'))
old('plain_module_exits', plain('hostile_import_exits', 'Order'))
old('function_is_gone', of_function('hostile_gone', 'send'))
old('signature_changed', of_function('hostile_shop', 'other_signature'))
old('not_decorated', of_function('hostile_shop', 'not_decorated'))
old('no_function', of_function('hostile_shop', 'no_function'))
old('became_coroutine', of_function('hostile_shop', 'coroutine'))
for reason in 'raises', 'exits', 'interrupts', 'lacks':
    old(f'function_in_module_that_{reason}',
        of_function(f'hostile_import_{reason}', 'send'))
    old(f'argument_of_module_that_{reason}',
        with_argument(f'hostile_import_{reason}', 'Order'))


def task_is_gone(request):
    return request.service.add('hostile.old', request.name)


old('task_is_gone', task_is_gone)


def enum_as_priority(request):
    level = __import__('hostile_gone').Level.HIGH
    return jobs.take.enqueue_with(priority=level)(request.name)


old('enum_as_priority', enum_as_priority, COMPLETED, calls=1)


def enum_as_delay(request):
    level = __import__('hostile_gone').Level.LOW
    return jobs.take.enqueue_with(delay=level)(request.name)


old('enum_as_delay', enum_as_delay, COMPLETED, calls=1)


def odd_text_as_task(request):
    name = __import__('hostile_gone').Text(RAW)
    return request.service.add(name, [request.name])


old('odd_text_as_task', odd_text_as_task, COMPLETED, calls=1)


def cron_of_gone_class(request):
    item = __import__('hostile_gone').Order()
    return request.service.addCronJob(RAW, [request.name, item])


old('cron_of_gone_class', cron_of_gone_class, HELD, CRONJOB)


def with_options(name, *ends, **options):
    """Enter a kind of call with odd options."""
    def add(request):
        return jobs.take.enqueue_with(**options)(request.name)
    made = type(nothing)(nothing.__code__, globals(), name)
    made.__module__ = __name__
    kind(*ends, add=add, most=2)(made)


with_options('delay_fraction', COMPLETED, REFUSED,
             delay=fractions.Fraction(1, 3))
with_options('delay_decimal', COMPLETED, REFUSED,
             delay=decimal.Decimal('0.3'))
with_options('delay_true', COMPLETED, REFUSED, delay=True)
with_options('delay_negative', COMPLETED, REFUSED, delay=-5)
with_options('delay_endless', REFUSED, delay=10 ** 400)
with_options('delay_infinite', REFUSED, delay=float('inf'))
with_options('delay_nan', REFUSED, delay=float('nan'))
with_options('priority_true', COMPLETED, REFUSED, priority=True)
with_options('priority_float', COMPLETED, REFUSED, priority=5.0)
with_options('priority_huge', REFUSED, priority=10 ** 9)


def add_huge_argument(request):
    return jobs.take.enqueue(request.name, b'x' * 15_000_000)


@kind(REFUSED, ERROR, add=add_huge_argument, most=1)
def huge_argument(call):
    """Larger than a service allows."""


def add_deep_argument(request):
    argument = []
    for _ in range(100_000):
        argument = [argument]
    return jobs.take.enqueue(request.name, argument)


@kind(REFUSED, add=add_deep_argument)
def deep_argument(call):
    """Nested too deeply to be pickled."""


old('document_class_is_gone', with_argument('hostile_gone', 'Document'))
old('document_of_module_that_raises',
    with_argument('hostile_import_raises', 'Document'))


def cron_in_lost_zone(request):
    """As where the zone is not in the time zone database, or that is gone."""
    jobid = request.service.addCronJob(
        'hostile.cron', [request.name], timezone='Europe/Berlin')
    request.service.jobs[jobid].timezone = 'Moon/Tranquillity'
    return jobid


old('cron_in_lost_zone', cron_in_lost_zone, HELD, ERROR, CRONJOB)


def add_lost_content(request):
    return jobs.take.enqueue(request.name, request.lost_content())


@kind(HELD, ERROR, add=add_lost_content)
def content_lost(call):
    """An argument that the database does not have."""


def add_packed_content(request):
    content = request.add_content()
    jobid = jobs.take.enqueue(request.name, content)
    request.after = lambda: (request.remove_content(), request.pack())
    return jobid


@kind(COMPLETED, HELD, ERROR, add=add_packed_content, most=1,
      calls=TRANSIENT_CALLS)
def content_packed(call):
    """An argument that is deleted, and the database packed."""


def add_removed_content(request):
    content = request.add_content()
    jobid = jobs.take.enqueue(request.name, content)
    request.after = lambda: request.remove_content()
    return jobid


# It may run while the content is deleted, and meet a conflict.
@kind(COMPLETED, HELD, ERROR, add=add_removed_content, calls=TRANSIENT_CALLS)
def content_removed(call):
    """An argument that is deleted before the job runs."""
