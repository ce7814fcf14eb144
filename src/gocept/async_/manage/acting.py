"""The subcommands that do something; each returns whether it was done."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from gocept.async_.manage import filters
from gocept.async_.manage import output
from gocept.async_.manage import progress
from gocept.async_.manage import running
from gocept.async_.manage.desk import Desk
from gocept.async_.manage.moving import move
from gocept.async_.manage.seeing import no_job
from gocept.async_.manage.source import MANY
from gocept.async_.manage.source import Row
from gocept.async_.manage.source import Source
from gocept.async_.manage.source import the_name
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.running.registry import service_path


# How many jobs are looked at in one transaction.
PAGE = 500

# How many digits the greatest id has, which fits into 63 bits.
MAX_DIGITS = 19

DONE = {'requeue': 'requeued', 'cancel': 'cancelled', 'remove': 'removed'}


def change(source: Source, options: argparse.Namespace) -> bool:
    """Requeue, cancel or remove jobs."""
    name = the_name(source, options.service)
    if options.ids:
        return _change_each(source, name, options)
    if options.dry_run:
        done, skipped = _count(source, name, options)
    else:
        done, skipped = _change_all(source, name, options)
    _tell(options, done, skipped)
    return True


def _change_each(source: Source, name: str,
                 options: argparse.Namespace) -> bool:
    refused = []
    for jobid in options.ids:
        found = (_would(source, name, options.command, jobid)
                 if options.dry_run
                 else source.change(name, options.command, jobid))
        if found is None:
            no_job(jobid)
        elif not found:
            print(f'async-jobs: {options.command}: not of job {jobid}, '
                  f'as it stands', file=sys.stderr)
        if not found:
            refused.append(jobid)
    _tell(options, len(options.ids) - len(refused), len(refused))
    return not refused


def _would(source: Source, name: str, what: str, jobid: int) -> bool | None:
    found = source.job(name, jobid)
    return None if found is None else found['status'] in MANY[what]


def _change_all(source: Source, name: str,
                options: argparse.Namespace) -> tuple[int, int]:
    """Return to how many jobs it was done, and how many were skipped."""
    bulk = source.bulk(name, options.command, filters.selection(options))
    done = skipped = 0
    after, more = None, True
    with progress.shown(DONE[options.command], bulk.total) as tell:
        while more:
            found = bulk.some(after)
            done += found.done
            skipped += found.skipped
            after = found.after
            more = after is not None
            tell(done)
    return done, skipped


def _count(source: Source, name: str,
           options: argparse.Namespace) -> tuple[int, int]:
    """Return to how many jobs it would be done, and to how many not."""
    done = skipped = 0
    after, more = None, True
    with progress.shown('found') as tell:
        while more:
            page = source.page(
                name, filters.selection(options), after, PAGE)
            can = sum(row['status'] in MANY[options.command]
                      for row in page.rows)
            done += can
            skipped += len(page.rows) - can
            after = page.after
            more = after is not None
            tell(done)
    return done, skipped


def _tell(options: argparse.Namespace, done: int, skipped: int) -> None:
    if options.json:
        output.as_json({'done': 0 if options.dry_run else done,
                        'would_do': done if options.dry_run else None,
                        'skipped': skipped})
        return
    would = 'would be ' if options.dry_run else ''
    output.text(f'{done} {would}{DONE[options.command]}'
                + (f', {skipped} skipped' if skipped else ''))


def pause(source: Source, options: argparse.Namespace) -> bool:
    """Pause or resume a service, or one cron job."""
    name = the_name(source, options.service)
    if options.id is None:
        if not options.dry_run:
            source.set_paused(name, options.command, None)
        return _tell_pause(options, f'service "{name}"',
                           source.status(name)['paused'])
    job = _cron_job(source, name, options)
    if job is None:
        return False
    if not options.dry_run:
        source.set_paused(name, options.command, int(job['id']))
        job = source.job(name, int(job['id'])) or job
    return _tell_pause(options, f'job {job["id"]}', job['paused'])


def _cron_job(source: Source, name: str,
              options: argparse.Namespace) -> Row | None:
    """Return the cron job that is meant; None, after saying so, if none is.
    """
    text = options.id
    job: Row | None
    for job in source.crons(name):
        if job['name'] == text:
            return job
    job = None
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS:
        job = source.job(name, int(text))
        if job is not None and 'paused' in job:
            return job
    reason = (f'there is no cron job "{text}"; see the command crons'
              if job is None else f'job {job["id"]} is no cron job')
    print(f'async-jobs: {options.command}: {reason}', file=sys.stderr)
    return None


def run_now(source: Source, options: argparse.Namespace) -> bool:
    """Add a copy of a cron job, to be run at once."""
    name = the_name(source, options.service)
    job = _cron_job(source, name, options)
    if job is None:
        return False
    copied = (None if options.dry_run
              else source.run_now(name, int(job['id'])))
    if options.json:
        output.as_json({'job': None if copied is None else str(copied)})
    elif copied is None:
        output.text(f'would add a copy of job {job["id"]}')
    else:
        output.text(f'job {copied} is added, a copy of job {job["id"]}')
    return True


def _tell_pause(options: argparse.Namespace, what: str, paused: bool) -> bool:
    """Say whether something is paused; return whether it is as asked."""
    if options.json:
        output.as_json({'paused': paused})
    else:
        output.text(f'{what} is {"" if paused else "not "}paused')
    return options.dry_run or paused == (options.command == 'pause')


def run(desk: Desk, options: argparse.Namespace) -> bool:
    """Run a job here."""
    name = the_name(desk, options.service)
    with desk.service(name) as service:
        job = service.jobs.get(options.id)
        status = None if job is None else job.status
        described = repr(job)
        path = service_path(service)
    if job is None:
        return no_job(options.id)
    if status not in running.RUNNABLE:
        print(f'async-jobs: run: job {options.id} is {status}; only one that '
              f'waits, is held, in error or cancelled is run',
              file=sys.stderr)
        return False
    if options.dry_run:
        if options.json:
            output.as_json({'job': str(options.id), 'status': status})
        else:
            output.text(f'would run {described}')
        return True
    return _tell_run(options, running.run(
        desk.db, path, options.id, options.json))


def _tell_run(options: argparse.Namespace, ran: running.Ran | None) -> bool:
    if ran is None:
        print(f'async-jobs: run: job {options.id} was not run: it was '
              f'changed meanwhile, cannot be read, or its database has '
              f'failed; show it', file=sys.stderr)
        return False
    if ran.status in WAITING and not ran.is_well:
        print(f'async-jobs: run: job {options.id} waits: a worker '
              f'tries it again, or run it again', file=sys.stderr)
    if options.json:
        output.as_json(ran._asdict())
        return ran.is_well
    if ran.traceback and not ran.is_well:
        output.block(ran.traceback)
    output.text(f'job {options.id} is {ran.status}, after '
                f'{output.cell(ran.duration)} s')
    return ran.is_well


# By the names of the subcommands.
ACTS: dict[str, Callable[[Any, argparse.Namespace], bool]] = {
    **dict.fromkeys(MANY, change), 'pause': pause, 'resume': pause,
    'run': run, 'run-now': run_now, 'move': move}
