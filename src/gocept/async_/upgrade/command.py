"""The command ``async-upgrade``: brings all services up to date.

In all sites, declared or not.  It exits with 0 if all is well, 1 if somebody
has to look at some jobs, and 2 if it could not be done.
"""

import argparse
import logging
import sys

import zc.lockfile
from ZODB.POSException import ReadOnlyError
from zope.configuration.exceptions import ConfigurationError

from gocept.async_ import zopeconf
from gocept.async_.declaration import declarations
from gocept.async_.upgrade import report
from gocept.async_.upgrade import search
from gocept.async_.upgrade.examination import examine
from gocept.async_.upgrade.slices import bring_up_to_date
from gocept.async_.worker.messages import give_output_up
from gocept.async_.worker.messages import prepare_standard_files
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import private_connection
from lovely.remotetask.running import quirks
from lovely.remotetask.running.server import server
from lovely.remotetask.storage.fate import HOLDS
from lovely.remotetask.storage.fate import UNREADABLE


FINE, LOOK, FAILED = 0, 1, 2

NOT_CONVERTED = (
    'the database was written by Python 2; keep a copy of it, and convert it '
    'first: zodbupdate --convert-py3 --encoding utf-8 -f Data.fs')
IN_USE = (
    'the database is a FileStorage, and another process uses it ({}); stop '
    'the application first, or look only: --check')
GO_ON = 'what is done is done, and the same command goes on'
READ_ONLY = 'the database is read-only; look only: --check'
NO_ROOT = (
    'the database "{}", the first one in the configuration, has no root '
    'folder; correct the path in its section, or put the section of the '
    'database that has it first')


class UpgradeError(Exception):
    """The command cannot do what it is asked for; the message says why."""


def main(args=None):
    """Run the command; its exit code is that of the process."""
    prepare_standard_files()
    options = parser().parse_args(args)
    # The report tells what the log would.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        code = run(options)
    except UpgradeError as error:
        code = _failed(str(error))
    except KeyboardInterrupt:
        code = _failed(f'stopped; {GO_ON}')
    except BrokenPipeError:
        give_output_up()
        code = _failed(f'nobody reads what it says, so it has stopped; '
                       f'{GO_ON}')
    sys.exit(code)


def _failed(text):
    """Tell why something could not be done.  Return the exit code for that.
    """
    print(f'async-upgrade: {text}', file=sys.stderr)
    return FAILED


def parser():
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog='async-upgrade',
        description='Bring all task services of an application up to date '
                    'that lovely.remotetask 0.2 to 0.5 have stored, and tell '
                    'what there is to be known of their jobs.',
        epilog='Exit status: 0 if all is well, 1 if somebody has to look at '
               'some jobs, 2 if it could not be done.')
    found.add_argument(
        'configuration', metavar='ZOPE.CONF',
        help='the application, stopped')
    found.add_argument(
        '--check', action='store_true',
        help='tell what would be done, and change nothing')
    return found


def run(options):
    """Do what is asked for.  Return the exit code."""
    db = _opened(options.configuration, options.check)
    try:
        return _run(db, options.check)
    except ReadOnlyError as error:
        raise UpgradeError(READ_ONLY) from error
    finally:
        quirks.close(db)


def _opened(path, read_only):
    """Return the database of a configuration, whose ZCML is executed."""
    try:
        configuration = zopeconf.read(path)
        configuration.configure()
    except ValueError as error:
        raise UpgradeError(str(error)) from error
    except ConfigurationError as error:
        raise UpgradeError(
            f'the ZCML of {path} cannot be executed; correct it: '
            f'{error}') from error
    opened = outcome_of(configuration.connect, read_only)
    if opened.failed:
        raise UpgradeError(_why_not_opened(opened)) from opened.exception
    return opened.value


def _why_not_opened(failure):
    if quirks.is_not_converted(failure):
        return NOT_CONVERTED
    if failure.is_a(zc.lockfile.LockError):
        return IN_USE.format(failure.error)
    return f'the database cannot be opened: {value.reason(failure)}'


def _run(db, only_check):
    with private_connection(db) as connection:
        connection.transaction_manager.begin()
        root = server().root(connection)
        if root is None:
            raise UpgradeError(NO_ROOT.format(db.database_name))
        declared = {_identity(outcome_of(each.find, root).value)
                    for each in declarations()}
        found = list(search.services(root))
        if not found:
            print('There are no task services.')
        return max([_see_to(each, only_check, declared) for each in found],
                   default=FINE)


def _identity(service):
    """Return what tells a service from others, whatever database it is in."""
    jar = getattr(service, '_p_jar', None)
    return None if jar is None else (jar.db().database_name, service._p_oid)


def _see_to(found, only_check, declared):
    """See to a service, and print what there is to be told.

    Return what that makes of the exit code.
    """
    if found.service is None:
        print(f'{found.site}: {escaped(found.trouble)}')
        return LOOK
    done = outcome_of(_examined, found.service, only_check)
    if done.failed and value.is_of_database(done):
        raise done.exception
    if done.failed:
        print(f'{found.site}: service "{found.name}" cannot be brought up to '
              f'date: {escaped(value.reason(done))}')
        return FAILED
    is_declared = _identity(found.service) in declared
    for line in report.lines(found, done.value, is_declared):
        print(line, flush=True)
    return LOOK if report.needs_attention(done.value) else FINE


def _examined(service, only_check):
    """Return the Examination of a service, brought up to date unless told.
    """
    if only_check:
        return examine(service)
    oid = service._p_oid
    done = bring_up_to_date(
        service._p_jar.db(), lambda connection: connection.get(oid), _tell)
    manager = service._p_jar.transaction_manager
    manager.abort()
    manager.begin()
    found = examine(service)
    # What is to be seen of the jobs now is told already.
    return found._replace(
        findings=found.findings + [
            each for each in done.findings
            if each.kind not in (HOLDS, UNREADABLE)],
        trouble=done.trouble + found.trouble)


def _tell(text, *args):
    print(text % args, file=sys.stderr)


if __name__ == '__main__':
    main()
