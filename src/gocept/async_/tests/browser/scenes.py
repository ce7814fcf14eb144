"""What is in the database when a page is looked at."""

import sys

from gocept.async_.testing import login as login_as
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests.browser import shop
from lovely.remotetask import named


def few(stage):
    """A dozen jobs: of every status, and of each way to fail."""
    _add(stage, lambda: shop.export_to_fax(30))
    function = sys.modules['shop.old'].__dict__.pop('export_to_fax')
    _add(stage, lambda: [
        shop.send_newsletter('ann@example.com', 'Autumn offers'),
        shop.send_newsletter('bob@example.com', 'Autumn offers', copies=2),
        shop.render('2026-0117', pages=3),
        shop.deliver('carl@example.com'),
        shop.deliver('dora@example.com'),
        shop.monthly_turnover((1200, 740, 31))])
    with stage.service() as service:
        service.addCronJob(*_call(shop.reorder), hour=2, minute=30,
                           timezone='Europe/Berlin')
        service.addCronJob(*_call(shop.monthly_turnover, (1, 2)),
                           dayOfWeek=(0, 1, 2, 3, 4), hour=6)
        named.put(service, 'stocktaking', named.Wanted(
            *_call(shop.reorder), {'minute': '*/15'}, ()))
    _run(stage)
    sys.modules['shop.old'].export_to_fax = function
    _add(stage, lambda: [
        shop.render('2026-0118', pages=12),
        shop.render('2026-0119', pages=1),
        shop.send_newsletter.enqueue_with(delay=3600)(
            'eve@example.com', 'Later')])
    with stage.service() as service:
        service.add('echo', {'tell': 'later'}, startLater=True)
        service.cancel(service.add('echo', ['never', 'mind']))
        service.claimNextJob()


def failures(stage, number):
    """So many jobs that have failed, and no others."""
    _add(stage, lambda: [shop.deliver(f'customer{each}@example.com')
                         for each in range(number)])
    _run(stage)


def many(stage, number=3000):
    """So many jobs that have completed, and some that failed."""
    few(stage)
    more(stage, number)


def more(stage, number):
    """Complete so many jobs; some of them fail."""
    for begin in range(0, number, 1000):
        with stage.service() as service:
            for each in range(begin, min(number, begin + 1000)):
                service.add('echo', {'number': each})
            service.process()


# One in so many jobs fails, others are cancelled; a part of all waits.
FAILS, CANCELLED, WAITS = 20, 7, 4


def mixed(stage, number):
    """Add so many jobs: most have run, those that were added last wait."""
    waiting = number // WAITS
    for begin in range(0, number, 1000):
        with stage.service() as service:
            for each in range(begin, min(number, begin + 1000)):
                if each % FAILS == 1:
                    service.add(*_call(
                        shop.deliver, (f'customer{each}@example.com',)))
                    continue
                jobid = service.add('echo', {'number': each})
                if each % CANCELLED == 2:
                    service.cancel(jobid)
            if begin + 1000 <= number - waiting:
                service.process()


def _add(stage, call):
    with stage.site():
        login_as('zope.user')
        try:
            call()
        finally:
            logout()


def _call(function, *args):
    """Return task and input of a stored call."""
    from gocept.async_.task import TASK_NAME
    from gocept.async_.task import TaskDescription
    return TASK_NAME, TaskDescription(function, args, {})


def _run(stage):
    with stage.site():
        process('events', raise_errors=False)
