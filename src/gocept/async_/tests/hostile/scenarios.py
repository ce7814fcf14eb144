"""The runs with hostile jobs, for each way to run jobs."""

import contextlib
import random

from gocept.async_.tests.celerystage import RabbitMQ
from gocept.async_.tests.celerystage import Valkey
from gocept.async_.tests.celerystage import find_rabbitmq
from gocept.async_.tests.hostile import outages
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.storm import Storm
from gocept.async_.tests.workerstage import find_postgresql


# How many violations are told of.
TOLD = 40


def _storm(say, place, seed, options, **stage):
    logs = options.pop('logs', None)
    seed = random.randrange(10 ** 6) if seed is None else seed
    say(f'seed {seed}')
    with contextlib.ExitStack() as stack:
        storm = Storm(stack, place, seed, **options, **stage)
        summary, wrong = storm.run()
        if logs:
            storm.stage.keep_logs(logs)
    say(summary)
    if wrong:
        more = len(wrong) - TOLD
        raise AssertionError('\n  '.join([
            f'{len(wrong)} violations, seed {seed}:', *wrong[:TOLD],
            *([f'and {more} more'] if more > 0 else [])]))


def hostile_threads(say, seed=None, **options):
    """Hostile jobs in threads of a web process, on a FileStorage."""
    _storm(say, THREADS, seed, options)


def hostile_worker(say, seed=None, **options):
    """Hostile jobs in async-worker, over ZEO."""
    _storm(say, WORKER, seed, options, make_server=outages.ZeoServer)


def hostile_worker_on_relstorage(say, seed=None, **options):
    """Hostile jobs in async-worker, over RelStorage and PostgreSQL."""
    if find_postgresql('initdb') is None:
        say('skipped: there is no PostgreSQL server')
        return
    _storm(say, WORKER, seed, options, make_server=outages.PostgreSQL)


def hostile_celery_on_valkey(say, seed=None, **options):
    """Hostile jobs in both pools of Celery, with Valkey, over ZEO."""
    _storm(say, CELERY, seed, options, make_server=outages.ZeoServer,
           make_broker=Valkey)


def hostile_celery_on_rabbitmq(say, seed=None, **options):
    """Hostile jobs in both pools of Celery, with RabbitMQ, over ZEO."""
    if not find_rabbitmq():
        say('skipped: there is no RabbitMQ server')
        return
    _storm(say, CELERY, seed, options, make_server=outages.ZeoServer,
           make_broker=RabbitMQ)


SCENARIOS = (hostile_threads, hostile_worker, hostile_worker_on_relstorage,
             hostile_celery_on_valkey, hostile_celery_on_rabbitmq)
