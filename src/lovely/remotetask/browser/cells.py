"""What stands in tables and lists: Markup for times, statuses and names."""

import datetime
from urllib.parse import quote

from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.wording import shortened


# The first and the last second that the calendar has.
FIRST, LAST = (datetime.datetime(*day, tzinfo=datetime.UTC).timestamp()
               for day in ((1, 1, 1), (9999, 12, 31, 23, 59, 59)))


def as_datetime(seconds):
    """Return the aware UTC datetime of POSIX seconds; None for None.

    That of an end of the calendar for what is beyond: a time may be stored,
    or calculated from a retention of thousands of years.
    """
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(
        min(max(FIRST, seconds), LAST), datetime.UTC)


def moment(when, now, say):
    """Return a time as the reader wants it: how long ago that was.

    when -- an aware datetime or None; now -- POSIX seconds; say -- Words.
    """
    if when is None:
        return tag('span', '–', class_='none')
    when = when.astimezone(datetime.UTC)
    return tag(
        'time', say.relative(now - when.timestamp()),
        datetime=when.isoformat(timespec='milliseconds'),
        title=absolute(when))


def absolute(when):
    """Return a time as text, to the second."""
    return f'{when.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC'


def status(name, say):
    """Return a status: a dot whose colour tells it, and its word."""
    return tag('span', say.status(name),
               class_=f'status {name.replace(" ", "-")}')


def function(name, size=48):
    """Return the dotted name of a function: its own name stands out."""
    module, dot, own = name.rpartition('.')
    own = shortened(own, size)
    room = max(size - len(own), 12)
    return tag('span', [
        tag('span', shortened(module + dot, room), class_='module')
        if module else '', tag('b', own)],
        class_='function', title=name)


def jobs_of(name, others):
    """Return what leads to the jobs of a function.

    others -- what to call all others together, whose name is ''.
    """
    if not name:
        return tag('span', others, class_='none')
    # A lone surrogate has no place in an address.
    asked = quote(name, safe='', errors='replace')
    return tag('a', function(name), href=f'jobs?function={asked}')


def jobid(text):
    """Return the id of a job; all of it on request, where it is long."""
    return tag('span', shortened(text, 12), title=text)


def worker(name):
    """Return who runs a job: host and process, the thread on request."""
    if not name:
        return ''
    host, pid, *_ = [*name.split(':'), '']
    return tag('span', shortened(f'{host}:{pid}' if pid else host, 24),
               class_='worker', title=name)


def whole_worker(name):
    """Return a worker with its thread, where there is room."""
    host, _, rest = name.partition(':')
    pid, _, thread = rest.partition(':')
    return [worker(name), ' ', tag(
        'span', shortened(thread, 40), class_='thread', title=thread)]


def class_name(name):
    """Return the class of an exception, without its module."""
    if not name:
        return ''
    return tag('span', shortened(name.rpartition('.')[2], 32),
               class_='error-class', title=name)


def notice(title, text):
    """Return a sentence that takes the place of a page."""
    return tag('section', [tag('h1', title), tag('p', text)],
               class_='notice')
