"""The subcommands that do something; each returns whether it was done."""

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

from gocept.async_.declaration import declarations
from gocept.async_.manage import filters
from gocept.async_.manage import output
from gocept.async_.manage import progress
from gocept.async_.manage import running
from gocept.async_.manage.desk import Desk
from gocept.async_.manage.moving import move
from gocept.async_.manage.seeing import no_job
from lovely.remotetask import named
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.running.server import server


# To jobs of which statuses these can be done.
MANY = {'requeue': (HELD, ERROR, CANCELLED),
        'cancel': (*WAITING, STARTLATER, HELD),
        'remove': tuple(
            status for status in STATUSES if status != PROCESSING)}

# Those of the greatest id.
MAX_DIGITS = 19

DONE = {'requeue': 'requeued', 'cancel': 'cancelled', 'remove': 'removed'}


def change(desk: Desk, options: argparse.Namespace) -> bool:
    """Requeue, cancel or remove jobs."""
    name = desk.the_name(options.service)
    if options.ids:
        return _change_each(desk, name, options)
    if options.dry_run:
        done, skipped = _count(desk, name, options)
    else:
        done, skipped = _change_all(desk, name, options)
    _tell(options, done, skipped)
    return True


def _change_each(desk: Desk, name: str, options: argparse.Namespace) -> bool:
    refused = []
    for jobid in options.ids:
        call = _would if options.dry_run else _does
        found = call(desk, name, options.command, jobid)
        if found is None:
            no_job(jobid)
        elif not found:
            print(f'async-jobs: {options.command}: not of job {jobid}, '
                  f'as it stands', file=sys.stderr)
        if not found:
            refused.append(jobid)
    _tell(options, len(options.ids) - len(refused), len(refused))
    return not refused


def _does(desk: Desk, name: str, what: str, jobid: int) -> bool | None:
    """Return whether it was done to a job; None if there is none."""
    def act(operations: Any) -> bool | None:
        if jobid not in operations.service.jobs:
            return None
        # A pattern that never matches, say, is refused.
        found = outcome_of(getattr(operations, what), jobid)
        if found.exception is not None and not found.is_a(ValueError):
            raise found.exception
        return bool(found.value)
    return desk.act(name, act)


def _would(desk: Desk, name: str, what: str, jobid: int) -> bool | None:
    with desk.service(name) as service:
        job = service.jobs.get(jobid)
        return None if job is None else job.status in MANY[what]


def _change_all(desk: Desk, name: str,
                options: argparse.Namespace) -> tuple[int, int]:
    """Return to how many jobs it was done, and how many were skipped."""
    selection = filters.selection(options)
    with desk.service(name) as service:
        # What fails from now on, or is added, is not meant.
        as_of = service.find(limit=1).as_of
        total = _total(service, selection)
    done = skipped = 0
    after, more = None, True
    with progress.shown(DONE[options.command], total) as tell:
        while more:
            found = desk.act(name, functools.partial(
                _do_some, f'{options.command}_some', after=after,
                as_of=as_of, **selection))
            done += found.done
            skipped += found.skipped
            after = found.after
            more = after is not None
            tell(done)
    return done, skipped


def _do_some(what: str, operations: Any, **arguments: Any) -> Any:
    return getattr(operations, what)(**arguments)


def _total(service: Any, selection: dict[str, Any]) -> int | None:
    """Return how many jobs there are, where the counts tell."""
    counts = service.counts()
    if set(selection) <= {'status'}:
        return sum(number for status, number in counts.items()
                   if selection.get('status') in (None, status))
    return None


def _count(desk: Desk, name: str,
           options: argparse.Namespace) -> tuple[int, int]:
    """Return to how many jobs it would be done, and to how many not."""
    done = skipped = 0
    after, more = None, True
    with (desk.service(name) as service,
          progress.shown('found') as tell):
        while more:
            page = service.find(
                **filters.selection(options), after=after, limit=500)
            can = sum(job.status in MANY[options.command]
                      for job in page.jobs)
            done += can
            skipped += len(page.jobs) - can
            after = page.after
            more = after is not None
            tell(done)
            service._p_jar.cacheGC()
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


def pause(desk: Desk, options: argparse.Namespace) -> bool:
    """Pause or resume a service, or one cron job."""
    name = desk.the_name(options.service)
    if options.id is None:
        return _pause_service(desk, name, options)
    jobid = _cron_id(desk, name, options)
    if jobid is None:
        return False
    if not options.dry_run:
        desk.act(name, lambda operations: getattr(
            operations, f'{options.command}_job')(jobid))
    with desk.service(name) as service:
        paused = service.jobs[jobid].paused
    return _tell_pause(options, f'job {jobid}', paused)


def _cron_id(desk: Desk, name: str,
             options: argparse.Namespace) -> int | None:
    """Return the id of the cron job that is meant.

    None, after saying so, if there is none.
    """
    with desk.service(name) as service:
        job = _cron_job(service, options.id)
        if job is not None and getattr(job, 'recurring', False):
            return int(job.id)
    reason = (f'there is no cron job "{options.id}"; see the command crons'
              if job is None else f'job {job.id} is no cron job')
    print(f'async-jobs: {options.command}: {reason}', file=sys.stderr)
    return None


def _cron_job(service: Any, text: str) -> Any:
    found = named.job_of(service, text)
    if found is None and text.isascii() and text.isdigit():
        found = service.jobs.get(int(text[:MAX_DIGITS]))
    return found


def run_now(desk: Desk, options: argparse.Namespace) -> bool:
    """Add a copy of a cron job, to be run at once."""
    name = desk.the_name(options.service)
    jobid = _cron_id(desk, name, options)
    if jobid is None:
        return False
    copied = None if options.dry_run else desk.act(
        name, lambda operations: operations.run_now(jobid))
    if options.json:
        output.as_json({'job': None if copied is None else str(copied)})
    elif copied is None:
        output.text(f'would add a copy of job {jobid}')
    else:
        output.text(f'job {copied} is added, a copy of job {jobid}')
    return True


def _pause_service(desk: Desk, name: str,
                   options: argparse.Namespace) -> bool:
    if not options.dry_run:
        desk.act(name, lambda operations: getattr(
            operations, options.command)())
    with desk.service(name) as service:
        paused = service.paused
    return _tell_pause(options, f'service "{name}"', paused)


def _tell_pause(options: argparse.Namespace, what: str, paused: bool) -> bool:
    """Say whether something is paused; return whether it is as asked."""
    if options.json:
        output.as_json({'paused': paused})
    else:
        output.text(f'{what} is {"" if paused else "not "}paused')
    return options.dry_run or paused == (options.command == 'pause')


def run(desk: Desk, options: argparse.Namespace) -> bool:
    """Run a job here."""
    name = desk.the_name(options.service)
    with desk.service(name) as service:
        job = service.jobs.get(options.id)
        status = None if job is None else job.status
        described = repr(job)
    if job is None:
        return no_job(options.id)
    if status not in running.RUNNABLE:
        print(f'async-jobs: run: job {options.id} is {status}; only one that '
              f'waits, is held, in error or cancelled is run',
              file=sys.stderr)
        return False
    if options.dry_run:
        output.text(f'would run {described}')
        return True
    return _tell_run(options, running.run(
        desk.db, lambda connection: _service_in(connection, name),
        options.id, options.json))


def _service_in(connection: Any, name: str) -> Any:
    declaration, = (each for each in declarations() if each.name == name)
    return declaration.find(server().root(connection))


def _tell_run(options: argparse.Namespace, ran: running.Ran | None) -> bool:
    if ran is None:
        print(f'async-jobs: run: job {options.id}: somebody has changed the '
              f'same meanwhile, so nothing of this run is stored; run it '
              f'again', file=sys.stderr)
        return False
    if options.json:
        output.as_json(ran._asdict())
        return ran.is_well
    if ran.traceback and not ran.is_well:
        output.block(ran.traceback)
    output.text(f'job {options.id} is {ran.status}, after '
                f'{output.cell(ran.duration)} s')
    return ran.is_well


# By the names of the subcommands.
ACTS: dict[str, Callable[[Desk, argparse.Namespace], bool]] = {
    **dict.fromkeys(MANY, change), 'pause': pause, 'resume': pause,
    'run': run, 'run-now': run_now, 'move': move}
