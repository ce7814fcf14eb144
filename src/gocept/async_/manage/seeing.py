"""The subcommands that show something; each returns whether all is well."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from gocept.async_.manage import check
from gocept.async_.manage import filters
from gocept.async_.manage import output
from gocept.async_.manage import progress
from gocept.async_.manage.desk import Desk
from gocept.async_.manage.source import Row
from gocept.async_.manage.source import Source
from gocept.async_.manage.source import the_name
from lovely.remotetask.interfaces import STATUSES


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


def counts(source: Source, options: argparse.Namespace) -> bool:
    """Show how many jobs there are of each status."""
    found = {name: source.status(name) for name in _names(source, options)}
    if options.json:
        output.as_json({'services': found})
        return True
    columns = {'service': 'service', **{name: name for name in STATUSES},
               'oldest_waiting_age': 'oldest waits s', 'paused': 'paused'}
    output.table(columns, [
        {'service': name, **each, **each['counts']}
        for name, each in found.items()])
    return True


def _names(source: Source, options: argparse.Namespace) -> list[str]:
    """Return the names of the service that is asked for, or of all."""
    names = source.names()
    if options.service is None and names:
        return names
    return [the_name(source, options.service)]


def list_jobs(source: Source, options: argparse.Namespace) -> bool:
    """Show jobs."""
    name = the_name(source, options.service)
    selection = filters.selection(options)
    found: list[Row] = []
    after, more, looked_at = None, True, 0
    with progress.shown('looked at') as tell:
        while more and len(found) < options.limit:
            page = source.page(name, selection, after,
                               min(PAGE, options.limit - len(found)))
            found += page.rows
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


def show(source: Source, options: argparse.Namespace) -> bool:
    """Show one job."""
    found = source.job(the_name(source, options.service), options.id)
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


def crons(source: Source, options: argparse.Namespace) -> bool:
    """Show the jobs that run again and again."""
    found = source.crons(the_name(source, options.service))
    if options.json:
        output.as_json({'crons': found})
    else:
        output.table(CRON_COLUMNS, found)
    return True


def workers(source: Source, options: argparse.Namespace) -> bool:
    """Show who runs jobs."""
    found = source.workers(the_name(source, options.service))
    if options.json:
        output.as_json({'workers': found})
    else:
        output.table(WORKER_COLUMNS, found)
    return True


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
SIGHTS: dict[str, Callable[[Any, argparse.Namespace], bool]] = {
    'counts': counts, 'list': list_jobs, 'show': show, 'crons': crons,
    'workers': workers, 'check': check_calls}
