"""An application's functions, decorated in every way that is allowed."""

import contextvars
import functools
import inspect
import threading

import persistent
import transaction
import zope.component
import zope.component.hooks
import zope.security.management
from zope.container.contained import Contained

from gocept.async_ import function
from gocept.async_ import is_async
from gocept.async_ import task
from lovely.remotetask.interfaces import ITaskService


# What the functions have done, the oldest first; tests empty it.
calls = []

# For the tests with real threads.
called = threading.Event()


class Content(Contained, persistent.Persistent):
    """Something an application stores."""


@function(service='events')
def record(*args, **kwargs):
    """Notes its arguments."""
    calls.append((args, kwargs))
    called.set()
    return len(args)


@function('events')
def add(a, b=1, *, times=1) -> int:
    """Add two numbers, times over."""
    return (a + b) * times


@function()
def default_service():
    """Belongs to the service without a name."""
    calls.append('default')


@function('events')
def context():
    """Notes where, and as whom, it runs."""
    calls.append((current_principal(), zope.component.hooks.getSite()))
    called.set()


@function('events')
def nested():
    """Calls another asynchronous function."""
    calls.append('before')
    calls.append(record('inside'))
    calls.append('after')


@function('events')
def note_is_async():
    calls.append(is_async())


@function('events')
def act_as_another():
    """Goes on as somebody else, as code does that may not do it as itself."""
    zope.security.management.endInteraction()
    zope.security.management.newInteraction()
    calls.append(add(1, 2))
    thread = threading.Thread(target=contextvars.copy_context().run, args=(
        lambda: calls.append(is_async()),))
    thread.start()
    thread.join()


@function('events')
def fail(message):
    raise RuntimeError(message)


class NotNow(Exception):
    """Something that may be better the next time."""


class MuchLater(NotNow):
    """A more special reason."""


@function('events')
def succeed_at(attempt, content=None, exception=NotNow):
    """Fails before its so-manyth attempt."""
    calls.append('attempt')
    if content is not None:
        content.value = getattr(content, 'value', 0) + 1
    if len(calls) < attempt:
        raise exception(f'attempt {len(calls)}')
    return len(calls)


@function('events')
def fail_and_go_on(times=1):
    """Fails, and enqueues another one when it is tried again."""
    if len(calls) % 2 == 0:
        calls.append('fail')
        raise NotNow()
    calls.append('go on')
    if times > 1:
        fail_and_go_on.enqueue(times - 1)
    else:
        record.enqueue('next')


@function('events')
def say(text):
    print(text)


@function('events')
def change(content, value):
    content.value = value


@function(service='events')
def add_content(name):
    """Puts something new into the current site, and returns it."""
    content = Content()
    zope.component.hooks.getSite()[name] = content
    return content


@function(service='events')
def change_and_fail(content, value):
    content.value = value
    raise RuntimeError('too late')


def undecorated():
    calls.append('undecorated')


def announced(decorated):
    """A decorator of the application's own."""
    @functools.wraps(decorated)
    def announce(*args):
        calls.append('announced')
        return decorated(*args)
    return announce


@function('events')
@announced
def announced_when_run(*args):
    calls.append(args)


@announced
@function('events')
def announced_when_called(*args):
    calls.append(args)


def with_session(decorated):
    """A decorator that supplies the first argument, and says so."""
    @functools.wraps(decorated)
    def supply(*args, **kwargs):
        return decorated('session', *args, **kwargs)
    signature = inspect.signature(decorated)
    supply.__signature__ = signature.replace(
        parameters=list(signature.parameters.values())[1:])
    return supply


@function('events')
@with_session
def supplied_when_run(session, path='/'):
    calls.append((session, path))


def with_session_unsaid(decorated):
    """A decorator that supplies the first argument, and hides the others."""
    @functools.wraps(decorated)
    def supply(*args, **kwargs):
        return decorated('session', *args, **kwargs)
    del supply.__wrapped__
    return supply


@function('events')
@with_session_unsaid
def supplied_unsaid(session, path='/'):
    calls.append((session, path))


@with_session
@function('events')
def supplied_when_called(session, path='/'):
    calls.append((session, path))


def hiding(decorated):
    """A decorator that hides what it decorates."""
    return lambda *args: decorated(*args)


@hiding
@function('events')
def hidden():
    calls.append('hidden')


@function('events')
def shadowed():
    calls.append('the first')


first_shadowed = shadowed


@function('events')
def shadowed():  # noqa: F811
    calls.append('the second')


@function('events')
def forgotten():
    calls.append('forgotten')


kept_elsewhere = [forgotten]
del forgotten


anonymous = function('events')(lambda: calls.append('anonymous'))


def make_nested():
    @function('events')
    def inner():
        calls.append('inner')
    return inner


class Application:

    @function('events')
    def method(self):
        calls.append('method')

    @staticmethod
    @function('events')
    def static_method():
        calls.append('static method')


def current_principal():
    """Return the principal of the interaction, None without one."""
    interaction = zope.security.management.queryInteraction()
    if interaction is None:
        return None
    return interaction.participations[0].principal


@function('events')
def queue_another():
    """Adds a job, which a decorated call in a job does not."""
    calls.append('first')
    service = zope.component.getUtility(ITaskService, 'events')
    service.add(task.TASK_NAME, task.TaskDescription(record, ('second',), {}))


@function('events')
def commit():
    transaction.commit()


@function('events')
def change_and_end(content, end):
    """Changes something, and loses it by a method of the transaction."""
    content.value = 'changed'
    getattr(transaction, end)()


@function('events')
def again_without_end(delay):
    """Calls itself as long as it is run."""
    calls.append(delay)
    again_without_end_again(delay)


def again_without_end_again(delay):
    again_without_end.enqueue_with(delay=delay)(delay)


@function('events')
def chain(length):
    """Calls itself, so many times."""
    calls.append(length)
    if length:
        chain.enqueue(length - 1)


@function('events')
def add_cron_job(**pattern):
    """Adds a cron job."""
    service = zope.component.getUtility(ITaskService, 'events')
    service.addCronJob('echo', **pattern)


class Compute:
    """A page that calls a function."""

    def __call__(self):
        context()
        return 'started'


@function('events')
def every_minute(what):
    """Calls itself again, a minute later."""
    calls.append(what)
    every_minute_again(what)


def every_minute_again(what):
    every_minute.enqueue_with(delay=60)(what)
