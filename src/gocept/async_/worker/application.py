"""The application of a worker process: its database, and what is to run."""

import zc.lockfile
from zope.configuration.exceptions import ConfigurationError

from gocept.async_ import zopeconf
from gocept.async_.declaration import declarations
from gocept.async_.startup import tell_of_missing


class Refused(Exception):
    """A worker cannot be run like this; the message says what to do."""


def open_database(path, processes):
    """Configure the application of a zope.conf.  Return its database.

    Raise Refused where trying again would not help.
    """
    try:
        configuration = zopeconf.read(path)
    except ValueError as error:
        raise Refused(str(error)) from error
    if processes > 1 and configuration.uses_file_storage:
        raise Refused(
            f'the database of {path} is a FileStorage, which only one '
            f'process can use; serve it by ZEO or use RelStorage, see '
            f'docs/howto/deployment.rst, or leave out --processes.')
    try:
        db = configuration.start()
    except zc.lockfile.LockError as error:
        raise Refused(
            f'the database of {path} is a FileStorage, and another process '
            f'uses it, most likely the web application ({error}); serve it '
            f'by ZEO or use RelStorage, see docs/howto/deployment.rst.'
        ) from error
    except ConfigurationError as error:
        raise Refused(
            f'the ZCML of {path} cannot be executed; correct it: '
            f'{error}') from error
    tell_of_missing(db)
    return db


def choose(options):
    """Return the declarations of the services that a process is to run.

    options -- those of WorkerProcess.

    Raise Refused if there are none, or one of them cannot be run.
    """
    known = {found.name: found for found in declarations()}
    where = f'the ZCML of {options["configuration"]}'
    if not known:
        raise Refused(
            f'{where} declares no service; add '
            f'<async:service name="..." />.')
    for name in options['services']:
        if name not in known:
            raise Refused(
                f'{where} declares no service "{name}"; choose one of '
                f'{", ".join(sorted(known))}.')
    chosen = [known[name] for name in options['services'] or known
              if options['services'] or runs_jobs(known[name])]
    if not chosen:
        raise Refused(
            f'{where} declares no service whose jobs could be run here, '
            f'only {_elsewhere(known.values())}.')
    for declaration in chosen:
        _check(declaration, options)
    return chosen


def _check(declaration, options):
    if not runs_jobs(declaration):
        raise Refused(
            f'no job is run here of {_elsewhere([declaration])}; choose '
            f'other services with --service.')
    if options['threads'] is None:
        return
    try:
        declaration.processorFactory.check(options['threads'])
    except ValueError as error:
        raise Refused(
            f'--threads does not fit the service "{declaration.name}": '
            f'{error} Or choose other services with --service.'
            ) from error


def runs_jobs(declaration):
    """Return whether the jobs of a declared service are run here."""
    return declaration.processorFactory.runsJobs


def _elsewhere(declarations):
    """Return a text: services, and the processors that they go to."""
    return ', '.join(
        f'the service "{declaration.name}" (processor '
        f'"{declaration.processor}")' for declaration in declarations)
