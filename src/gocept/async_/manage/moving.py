"""The subcommand that moves a service to the database that is declared."""

import argparse
import time
from typing import Any
from typing import NamedTuple

from gocept.async_.declaration import declarations
from gocept.async_.manage import output
from gocept.async_.manage import progress
from gocept.async_.manage.desk import Desk
from gocept.async_.manage.source import the_name
from gocept.async_.move import handover
from gocept.async_.move.copying import Copied
from gocept.async_.move.copying import Copier
from gocept.async_.worker.application import Refused
from lovely.remotetask import TaskService
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.part import path
from lovely.remotetask.retry import private_connection
from lovely.remotetask.snapshot import last_shown


# Seconds after which a worker that was not heard of is gone.
SILENT = 60

STOP = ('stop all processes that use the application, the web servers, too, '
        'and try again')


class Plan(NamedTuple):
    """What is to be moved.

    source, target -- names of databases.
    oid -- that of the service.
    where -- its path.
    counts -- status to number of jobs.
    """

    source: str
    target: str
    oid: bytes
    where: list[str]
    counts: dict[str, int]

    @property
    def jobs(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


def move(desk: Desk, options: argparse.Namespace) -> bool:
    """Move a service, its jobs and its cron jobs; or say what would be done.
    """
    name = the_name(desk, options.service)
    declaration, = (each for each in declarations() if each.name == name)
    plan = _planned(desk, name, declaration)
    if plan.source == plan.target:
        tidied = not options.dry_run and handover.tidy(desk.db, declaration)
        return _tell(options, name, plan, None, tidied)
    if options.dry_run:
        return _tell(options, name, plan, None)
    handover.hold_copies(desk.db, declaration)
    plan = _planned(desk, name, declaration)
    snapshot, copied = _copy(desk, plan)
    kept = _hand_over(desk, declaration, plan, snapshot, copied)
    handover.tidy(desk.db, declaration)
    return _tell(options, name, plan, copied, kept=kept)


def _planned(desk: Desk, name: str, declaration: Any) -> Plan:
    """Return the Plan for a service.  Raise Refused if it cannot be moved."""
    with desk.service(name) as service:
        if not isinstance(service, TaskService):
            raise Refused(f'the service "{name}" is of a class of your own, '
                          f'{type(service).__qualname__}; move it yourself.')
        management: Any = IManagement(service)
        if not management.is_current:
            raise Refused(f'earlier code has stored the service "{name}": '
                          f'start the application once, or run '
                          f'async-upgrade.')
        _check_workers(name, management)
        return Plan(
            service._p_jar.db().database_name,
            declaration.database or desk.db.database_name,
            service._p_oid, path(service), service.counts())


def _check_workers(name: str, management: Any) -> None:
    now = time.time()
    alive = [each['processor'] for each in management.workers()
             if each['heartbeat'] is not None
             and each['heartbeat'] > now - SILENT]
    if alive:
        raise Refused(
            f'{", ".join(sorted(alive))} was heard of within the last minute, '
            f'and may be running jobs of "{name}"; {STOP}.')


def _copy(desk: Desk, plan: Plan) -> tuple[bytes | None, Copied]:
    """Copy all records; return the snapshot of which they are."""
    with (private_connection(desk.db) as connection,
          progress.shown('records copied') as tell):
        connection.transaction_manager.begin()
        source = connection.get_connection(plan.source)
        target = connection.get_connection(plan.target)
        snapshot = last_shown(source)
        return snapshot, Copier(source, target).copy(plan.oid, tell)


def _hand_over(desk: Desk, declaration: Any, plan: Plan,
               snapshot: bytes | None, copied: Copied) -> int:
    """Let the copy take the place of the service.

    Return how many objects of the application are kept for it.
    """
    found = handover.arrive(
        desk.db, plan.target, copied.oid, (plan.source, plan.oid), plan.where)
    if found != plan.counts:
        raise Refused(
            f'the copy has other jobs ({found}) than the service '
            f'({plan.counts}); nothing is moved. {STOP.capitalize()}.')
    done = outcome_of(
        handover.switch, desk.db, declaration, plan.target, copied.oid,
        snapshot, copied.left)
    if done.is_a(handover.Meddled):
        raise Refused(
            f'somebody has written to the database "{plan.source}" while its '
            f'jobs were copied; nothing is moved. {STOP.capitalize()}.')
    if done.exception is not None:
        raise done.exception
    return int(done.value)


def _tell(options: argparse.Namespace, name: str, plan: Plan,
          copied: Copied | None, tidied: bool = False,
          kept: int = 0) -> bool:
    if options.json:
        output.as_json({
            'service': name, 'from': plan.source, 'to': plan.target,
            'jobs': plan.jobs, 'moved': copied is not None,
            'records': None if copied is None else copied.number,
            'kept': kept})
        return True
    if plan.source == plan.target:
        output.text(f'service "{name}" is in the database "{plan.target}"'
                    + (', and nothing is left of it elsewhere' if tidied
                       else ', as declared'))
        return True
    would = 'moved' if copied is not None else 'would be moved'
    output.text(f'service "{name}", {plan.jobs} jobs, {would} from the '
                f'database "{plan.source}" to "{plan.target}"')
    if kept:
        output.text(f'{kept} objects that jobs refer to, and nothing else, '
                    f'stay in "{plan.source}"')
    return True
