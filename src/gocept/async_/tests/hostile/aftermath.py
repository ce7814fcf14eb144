"""What is looked at when all jobs have ended: whether all can go on."""

import time

from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.stage import NoAnswer
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ENDED


# Seconds until a worker is ready again.
PATIENCE = 60.0

# Cron jobs that have not run yet, or cannot be run.
RARE = 'cron_in_summer', 'cron_on_leap_day', 'cron_of_gone', 'cron_in_lost'


def wrong_health(crew):
    """Return sentences on workers that are not ready, and should be."""
    if crew.place != WORKER:
        return []
    end = time.monotonic() + PATIENCE
    statuses = []
    while time.monotonic() < end:
        crew.keep_slots()
        statuses = [slot.ready() for slot in crew.slots]
        if all(status == 200 for status in statuses):
            return []
        time.sleep(0.5)
    return [f'/ready is {statuses} though nothing fails any more']


def wrong_ticks(crew, fates, jumped):
    """Return sentences on cron jobs of each minute.

    jumped -- how often the clock has.
    """
    most = (time.monotonic() - crew.began) / 60 + 3 + jumped
    found = {name: fate for name, fate in fates.items()
             if fate['status'] == CRONJOB and not name.startswith(RARE)}
    wrong = [f'{name}: {fate["value"]} runs, more than {most:.0f} minutes'
             for name, fate in found.items() if fate['value'] > most]
    return wrong + [
        f'{name}: waits until {fate["due"]:.0f}, now is {time.time():.0f}'
        for name, fate in found.items()
        if fate['due'] and fate['due'] > time.time() + 120]


def wrong_clean(crew):
    """Return sentences on what `clean` does not remove."""
    try:
        left = crew.ask('clean')
    except NoAnswer as error:
        return [f'clean() raises {str(error)[-500:]}']
    return [f'{name}: {counts[status]} {status} jobs after clean()'
            for name, counts in left.items()
            for status in ENDED if counts.get(status)]
