"""The command ``async-jobs``: see and act, from a shell."""

import argparse
import sys
from typing import Any

from gocept.async_.manage import asking
from gocept.async_.manage import desk
from gocept.async_.manage import filters
from gocept.async_.manage import output
from gocept.async_.manage.acting import ACTS
from gocept.async_.manage.remote import Remote
from gocept.async_.manage.seeing import SIGHTS
from gocept.async_.manage.source import MANY
from gocept.async_.worker.application import Refused
from gocept.async_.worker.messages import give_output_up
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import is_of_database
from lovely.remotetask.running import quirks
from lovely.remotetask.startup import NoRootFolder


# Exit codes; 2 is argparse's own.
DONE, NO, CANNOT_OPEN = 0, 1, 3

EPILOG = '''\
exit codes: 0, it was done, or there was nothing to do; 1, the answer is no:
there is no such job, it cannot be done to it, a job has failed, or `check`
has found something; 2, the command makes no sense; 3, the application cannot
be opened or asked, its database does not answer, or the answer cannot be
written.

By --url a running application is asked, on its management pages (see
async:pages), also beside a process that has a FileStorage open. User and
password are those in ASYNC_JOBS_USER and ASYNC_JOBS_PASSWORD, or in ~/.netrc
(or the file that NETRC names). `run`, `check` and `move` need the application
here.'''

# What needs the code of the application, and its database.
HERE = ('run', 'check', 'move')

# What is raised for an answer that is none of our pages.
STRANGE = KeyError, TypeError, AttributeError, ValueError

HELP = {
    'counts': 'how many jobs there are of each status',
    'list': 'jobs, newest first',
    'show': 'all about one job, with its arguments and traceback',
    'crons': 'the cron jobs, and when they run next',
    'workers': 'who runs jobs, and has claimed which',
    'check': 'whether the installed code can make all calls that are stored; '
             'exit code 1 if not, for a deploy pipeline',
    'requeue': 'run jobs again that are held, in error or cancelled',
    'cancel': 'cancel jobs that have not begun',
    'remove': 'remove jobs that do not run, for good',
    'run': 'run a job now, in this process, and show what it does',
    'run-now': 'let workers run a copy of a cron job at once; its schedule '
               'stays',
    'pause': 'let workers claim no jobs of a service; or one cron job not be '
             'due',
    'move': 'move a service with its jobs to the database that ZCML declares '
            'for it, while nothing else uses the application',
    'resume': 'end the pause of a service, or of one cron job'}


CRON = 'the id of a cron job, or the name with which it is declared'


def main(args: list[str] | None = None) -> None:
    """Run the command; its exit code is that of the process."""
    output.prepare()
    options = _parse(args)
    try:
        sys.exit(_run(options))
    except Refused as error:
        print(f'async-jobs: {error}', file=sys.stderr)
        if isinstance(error, output.Unwritable):
            give_output_up()
        sys.exit(CANNOT_OPEN)
    except BrokenPipeError:
        # Whoever reads this has seen enough; nothing is left to be flushed.
        give_output_up()
        sys.exit(DONE)
    except KeyboardInterrupt:
        print('async-jobs: stopped; what is done is done, and the same '
              'command goes on', file=sys.stderr)
        sys.exit(NO)


def _run(options: argparse.Namespace) -> int:
    call = {**SIGHTS, **ACTS}[options.command]
    found = outcome_of(_opened, options, call)
    if any(map(found.is_a, STRANGE)):
        _check_foreign(options, found)
    if found.failed and (
            is_of_database(found) or quirks.cannot_write(found)):
        raise Refused(f'the database of {options.configuration} cannot be '
                      f'worked with: {found.error or found.errorClass}')
    if found.failed and found.is_a(NoRootFolder):
        raise Refused(found.error)
    if found.exception is not None:
        raise found.exception
    output.finish()
    return DONE if found.value else NO


def _check_foreign(options: argparse.Namespace, found: Any) -> None:
    """Raise Refused if an answer is no answer of our pages."""
    if options.url is not None:
        raise Refused(f'{options.url} answers something else than this '
                      f'command knows ({found.error}); are both of the same '
                      f'version?')


def _opened(options: argparse.Namespace, call: Any) -> bool:
    if options.url is not None:
        return bool(call(Remote(asking.opened(options.url)), options))
    with desk.opened(options.configuration) as opened:
        return bool(call(opened, options))


def _parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='async-jobs', epilog=EPILOG,
        usage='async-jobs [-h] (ZOPE.CONF | --url URL) COMMAND ...',
        description='See to the jobs of a Zope application.')
    # Where there is an address, the first word is the command.
    if not _has_address(args):
        parser.add_argument(
            'configuration', metavar='ZOPE.CONF',
            help='the application; a FileStorage is opened if nobody has it '
                 'open')
    parser.add_argument(
        '--url', type=_address, metavar='URL',
        help='the management pages of a running application: '
             'https://shop.example/@@async/')
    commands = parser.add_subparsers(
        prog='async-jobs ZOPE.CONF', dest='command', required=True,
        metavar='COMMAND')
    for name, help in HELP.items():
        # A percent sign would be a format.
        _add_options(commands.add_parser(
            name, help=help, description=f'{help[0].upper()}{help[1:]}.'),
            name)
    options = parser.parse_args(args)
    if options.command in MANY:
        _check_jobs(parser, options)
    if options.url is not None and options.command in HERE:
        parser.error(f'{options.command}: it needs the application here; '
                     f'give the path of a zope.conf, not --url')
    return options


def _has_address(args: list[str] | None) -> bool:
    """Return whether --url is among the options before the command."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument('--url')
    found = outcome_of(parser.parse_known_args, args)
    return not found.failed and found.value[0].url is not None


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    add = parser.add_argument
    if name in ('show', 'run'):
        add('id', type=_id, metavar='ID', help='the id of a job')
    elif name == 'run-now':
        add('id', metavar='CRON', help=CRON)
    elif name in ('pause', 'resume'):
        add('id', nargs='?', metavar='CRON', help=CRON)
    elif name in MANY:
        add('ids', type=_id, nargs='*', metavar='ID', help='ids of jobs')
        add('--all', action='store_true', help='all jobs of the service')
    if name in (*MANY, 'list'):
        filters.add_to(parser)
    if name == 'list':
        add('--limit', type=_positive, default=50, metavar='N',
            help='how many at most (default: %(default)s)')
    if name in ACTS:
        add('--dry-run', action='store_true',
            help='say what would be done, and do nothing')
    add('--service', metavar='NAME',
        help='the declared service (default: the only one'
             + (', or all)' if name in ('counts', 'check') else ')'))
    add('--json', action='store_true', help='write JSON')
    # Also after the command; what stands before it is not forgotten.
    add('--url', type=_address, default=argparse.SUPPRESS, metavar='URL',
        help=argparse.SUPPRESS)


def _check_jobs(parser: argparse.ArgumentParser,
                options: argparse.Namespace) -> None:
    """Refuse what does not say which jobs are meant, or says it twice."""
    selected = filters.selection(options)
    # Nothing is done to one job twice.
    options.ids = list(dict.fromkeys(options.ids))
    given = bool(options.ids) + bool(selected) + options.all
    if given != 1:
        parser.error(
            f'{options.command}: give either ids of jobs, or options that '
            f'select some, or --all')


def _address(text: str) -> str:
    try:
        return asking.check_address(text)
    except ValueError as error:
        # The error does not quote the address: it may have a password in it.
        raise argparse.ArgumentTypeError(str(error)) from None


def _id(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


# argparse names the type by this when it refuses a value.
_id.__name__ = 'id'
_positive.__name__ = 'positive number'


if __name__ == '__main__':
    main()
