"""The subcommands that show something; each returns whether all is well."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from gocept.async_.manage import check
from gocept.async_.manage import filters
from gocept.async_.manage import output
from gocept.async_.manage import progress
from gocept.async_.manage.described import cron_row
from gocept.async_.manage.described import details
from gocept.async_.manage.described import instant
from gocept.async_.manage.described import row
from gocept.async_.manage.desk import Desk
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import IManagement


JOB_COLUMNS = {
    'id': 'id', 'status': 'status', 'function': 'function',
    'principal': 'principal', 'created': 'added', 'completed': 'ended',
    'attempts': 'attempts', 'error_class': 'error class'}
CRON_COLUMNS = {
    'id': 'id', 'name': 'name', 'function': 'function', 'pattern': 'pattern',
    'timezone': 'time zone', 'due': 'next time', 'paused': 'paused',
    'status': 'status'}
WORKER_COLUMNS = {
    'processor': 'worker', 'silent': 'silent for s', 'claimed': 'claimed'}

# How many jobs one look at the database brings.
PAGE = 50


def counts(desk: Desk, options: argparse.Namespace) -> bool:
    """Show how many jobs there are of each status."""
    found = {}
    for name in _names(desk, options):
        with desk.service(name) as service:
            oldest = service.oldest_waiting()
            found[name] = {
                'counts': service.counts(),
                'oldest_waiting': instant(oldest),
                'oldest_waiting_age': (
                    None if oldest is None
                    else max(0.0, time.time() - oldest)),
                'paused': service.paused}
    if options.json:
        output.as_json({'services': found})
        return True
    columns = {'service': 'service', **{name: name for name in STATUSES},
               'oldest_waiting_age': 'oldest waits s', 'paused': 'paused'}
    output.table(columns, [
        {'service': name, **each, **each['counts']}
        for name, each in found.items()])
    return True


def _names(desk: Desk, options: argparse.Namespace) -> list[str]:
    """Return the names of the service that is asked for, or of all."""
    names = desk.names()
    if options.service is None and names:
        return names
    return [desk.the_name(options.service)]


def list_jobs(desk: Desk, options: argparse.Namespace) -> bool:
    """Show jobs."""
    selection = filters.selection(options)
    found: list[dict[str, Any]] = []
    after, more, looked_at = None, True, 0
    with (desk.service(desk.the_name(options.service)) as service,
          progress.shown('looked at') as tell):
        while more and len(found) < options.limit:
            page = service.find(
                **selection, after=after,
                limit=min(PAGE, options.limit - len(found)))
            found += map(row, page.jobs)
            after = page.after
            more = after is not None
            looked_at += page.looked_at
            tell(looked_at)
    if options.json:
        output.as_json({'jobs': found, 'complete': not more})
        return True
    output.table(JOB_COLUMNS, found)
    if more:
        print(f'(the newest {len(found)}; there may be more, see --limit)',
              file=sys.stderr)
    return True


def show(desk: Desk, options: argparse.Namespace) -> bool:
    """Show one job."""
    with desk.service(desk.the_name(options.service)) as service:
        job = service.jobs.get(options.id)
        found = None if job is None else details(job)
    if found is None:
        return no_job(options.id)
    if options.json:
        output.as_json(found)
        return True
    attempts = found.pop('attempts_made')
    traceback = found.pop('traceback')
    output.fields(found)
    for number, attempt in enumerate(attempts, 1):
        output.text(f'run {number}:', output.cell(attempt['started']),
                    output.cell(attempt['worker']),
                    output.cell(attempt['error_class']) or 'well')
    if traceback:
        output.text('traceback:')
        output.block(traceback)
    return True


def no_job(jobid: int) -> bool:
    """Say that there is no job with an id."""
    print(f'async-jobs: there is no job {jobid}; it was removed, or never '
          f'was', file=sys.stderr)
    return False


def crons(desk: Desk, options: argparse.Namespace) -> bool:
    """Show the jobs that run again and again."""
    with desk.service(desk.the_name(options.service)) as service:
        found = [{**row(job), **cron_row(job)}
                 for job in service.cron_jobs()]
    if options.json:
        output.as_json({'crons': found})
    else:
        output.table(CRON_COLUMNS, found)
    return True


def workers(desk: Desk, options: argparse.Namespace) -> bool:
    """Show who runs jobs."""
    now = time.time()
    with desk.service(desk.the_name(options.service)) as service:
        management: Any = IManagement(service)
        found = [_worker(each, now) for each in management.workers()]
    if options.json:
        output.as_json({'workers': found})
    else:
        output.table(WORKER_COLUMNS, found)
    return True


def _worker(worker: dict[str, Any], now: float) -> dict[str, Any]:
    heartbeat, claims = worker['heartbeat'], worker['claims']
    return {'id': worker['id'],
            'processor': worker['processor'],
            'silent': (None if heartbeat is None
                       else max(0.0, now - heartbeat)),
            'claimed': len(claims),
            'claims': [{'job': str(jobid), 'since': instant(time)}
                       for jobid, time in claims]}


def check_calls(desk: Desk, options: argparse.Namespace) -> bool:
    """Show which stored calls the installed code cannot make."""
    found = []
    for name in _names(desk, options):
        with (desk.service(name) as service,
              progress.shown(f'checked of {name}') as tell):
            found += [{'service': name, **each._asdict(), 'id': str(each.id)}
                      for each in check.problems(service, tell)]
    if options.json:
        output.as_json({'problems': found})
    for each in () if options.json else found:
        output.text(*map(output.cell, (
            f'{each["service"]}/{each["id"]}', each['function'],
            each['reason'])))
    return not found


# By the names of the subcommands.
SIGHTS: dict[str, Callable[[Desk, argparse.Namespace], bool]] = {
    'counts': counts, 'list': list_jobs, 'show': show, 'crons': crons,
    'workers': workers, 'check': check_calls}
