"""The directives ``async:service`` and ``async:renamed``."""

import math
import re

import zope.component
import zope.component.zcml
import zope.interface
import zope.schema
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import Bool
from zope.configuration.fields import Tokens
from zope.dottedname.resolve import resolve

from gocept.async_.declaration import ServiceDeclaration
from gocept.async_.declaration import declarations
from gocept.async_.interfaces import IRenamedFunction
from gocept.async_.interfaces import IServiceDeclaration
from gocept.async_.task import RenamedFunction
from gocept.async_.task import current_name
from gocept.async_.task import find_function
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.policy import Policy
from lovely.remotetask.running.settings import MAX_THREADS
from lovely.remotetask.running.settings import MAX_WAIT_TIME


# Of what a policy says, a default stands there alone.
DEFAULT = Policy()

# Processors may be registered anywhere in the ZCML; check when all is read.
LAST = 10 ** 6

# The directive was read from meta.zcml, and nothing else of the package.
NO_PROCESSOR = ('(none is registered: add <include package="gocept.async_" /> '
                'to site.zcml)')


def _is_name(name):
    # Part of addresses, and of what people and functions write.
    return (re.fullmatch(r'(?![+@])[^/]*', name) and name.isprintable()
            and name == name.strip() and name not in ('.', '..'))


def _is_number(value):
    return not math.isnan(value)


class IServiceDirective(zope.interface.Interface):
    """Declare a task service.

    It is created and registered when the application opens its database.
    """

    name = zope.schema.TextLine(
        title='Name',
        description='The name decorated functions refer to.',
        constraint=_is_name,
        required=True)

    processor = zope.schema.TextLine(
        title='Processor',
        description='How jobs are run: "simple", one after the other; '
                    '"multi", several at a time in threads; or the name of '
                    'another IProcessorFactory utility.',
        default='simple',
        required=True)

    threads = zope.schema.Int(
        title='Threads',
        description='How many jobs a process runs at a time.',
        min=1,
        max=MAX_THREADS,
        default=1,
        required=True)

    wait_time = zope.schema.Float(
        title='Wait time',
        description='How often an idle processor looks for jobs, in '
                    'seconds. Jobs wake it at once that are added in its own '
                    'process, or in others over ZEO and PostgreSQL.',
        constraint=math.isfinite,
        min=0.01,
        max=MAX_WAIT_TIME,
        default=1.0,
        required=True)

    autostart = Bool(
        title='Start automatically',
        description='Whether a web application starts the processor. A '
                    'worker runs the service in any case.',
        default=True,
        required=True)

    site = zope.schema.TextLine(
        title='Site',
        description='Path of the site that holds the service, like '
                    '"/intranet"; "/" is the root folder. When you rename '
                    'the site, correct it here: the service goes with the '
                    'site.',
        default='/',
        required=True)

    database = zope.schema.TextLine(
        title='Database',
        description='Name of the <zodb> section of zope.conf where the '
                    'service is stored with its jobs. If you do not give it, '
                    'that is the database of the site. A service that exists '
                    'stays where it is.',
        default='',
        required=True)

    attempts = zope.schema.Int(
        title='Attempts',
        description='How many runs may fail with exceptions of retry_on, or '
                    'by the death of their process, before the error is '
                    'final. Any other exception is final at once.',
        min=1,
        default=DEFAULT.attempts,
        required=True)

    retry_wait = zope.schema.Float(
        title='Wait before an attempt',
        description='How long the pause before the second attempt may be, '
                    'in seconds. The pause is a random time up to that, so '
                    'that jobs which failed together do not come back '
                    'together. Each further pause may be twice as long, up '
                    'to an hour.',
        constraint=math.isfinite,
        min=0.0,
        default=DEFAULT.retry_wait,
        required=True)

    retry_on = Tokens(
        title='Exceptions to try again',
        description='Exceptions after which a job runs again: dotted names, '
                    'separated by white space. Write those of Python itself '
                    'without a module, like OSError. Derived exceptions '
                    'count, too. After a conflict, and if its process is '
                    'gone, a job runs again in any case.',
        value_type=zope.schema.DottedName(min_dots=0),
        default=[],
        required=False)

    retention = zope.schema.Float(
        title='Retention',
        description='How many seconds a completed or cancelled job is kept; '
                    '"inf" keeps it for ever.',
        constraint=_is_number,
        min=0.0,
        default=DEFAULT.retention,
        required=True)

    error_retention = zope.schema.Float(
        title='Retention of errors',
        description='How many seconds a job in error, or held, is kept; '
                    '"inf" keeps it for ever. A held cron job is kept until '
                    'somebody requeues or removes it.',
        constraint=_is_number,
        min=0.0,
        default=DEFAULT.error_retention,
        required=True)

    keep_result = Bool(
        title='Keep results',
        description='Whether completed jobs are kept. If not, they are '
                    'removed at once.',
        default=DEFAULT.keep_result,
        required=True)

    commit_every = zope.schema.Int(
        title='Commit every',
        description='How many short jobs are run in one transaction at most.',
        min=1,
        max=1000,
        default=DEFAULT.commit_every,
        required=True)

    max_size = zope.schema.Int(
        title='Greatest size',
        description='Bytes that the arguments of a call, or its result, may '
                    'have when they are stored. A call with more is refused; '
                    'a job that returns more is in error.',
        min=1,
        default=DEFAULT.max_size,
        required=True)

    log_messages = Bool(
        title='Log messages',
        description='Whether the log line of a job that failed has the '
                    'message of its exception, which may hold arguments. If '
                    'not, the line has the class and the place of the '
                    'exception alone.',
        default=DEFAULT.log_messages,
        required=True)


def service(_context, retry_on=(), **settings):
    """Register the declaration; nothing is opened or started here."""
    try:
        declaration = ServiceDeclaration(retry_on=tuple(retry_on), **settings)
    except ValueError as error:
        raise ConfigurationError(
            f'async:service "{settings["name"]}": {error}') from error
    declare(_context, 'service', declaration, IServiceDeclaration,
            declaration.name, lambda: _check(declaration))


def declare(context, kind, declaration, provided, name, check):
    """Register a declaration, once all directives have been read.

    kind -- str; two of a kind with one name are a conflict.
    check -- called without arguments when all others have been registered.
    """
    context.action(
        discriminator=(f'gocept.async:{kind}', name), callable=register,
        args=(kind, declaration, provided, name, context.info))
    context.action(discriminator=None, callable=check, order=LAST)


def register(kind, declaration, provided, name, info):
    """Register what a directive has declared, for the whole application.

    Raise ConfigurationError where a site is current: it would be stored there,
    and nobody would find it.
    """
    if (zope.component.getSiteManager()
            is not zope.component.getGlobalSiteManager()):
        raise ConfigurationError(
            f'async:{kind} "{name}" is for the whole application, and a site '
            f'is current; call zope.component.hooks.setSite(None) before the '
            f'ZCML is executed.')
    zope.component.zcml.handler(
        'registerUtility', declaration, provided, name, info)


def _check(declaration):
    if declaration not in declarations():
        # Overridden: includeOverrides keeps this action nevertheless.
        return
    _check_processor(declaration)
    _resolve_retry_on(declaration)


def _check_processor(declaration):
    known = dict(zope.component.getUtilitiesFor(IProcessorFactory))
    factory = known.get(declaration.processor)
    if factory is None:
        raise ConfigurationError(
            f'async:service "{declaration.name}": no processor '
            f'"{declaration.processor}"; choose one of '
            f'{", ".join(sorted(known)) or NO_PROCESSOR}.')
    try:
        factory.check(declaration.processorArguments['maxThreads'])
    except ValueError as error:
        raise ConfigurationError(
            f'async:service "{declaration.name}": {error}') from error


def _resolve_retry_on(declaration):
    """Make the names of exceptions those under which they are defined."""
    try:
        names = tuple(
            map(_exception_name, declaration.policy.retry_on))
    except LookupError as error:
        raise ConfigurationError(
            f'async:service "{declaration.name}": retry_on: {error}'
        ) from error
    declaration.policy = declaration.policy._replace(retry_on=names)


def _exception_name(name):
    try:
        found = resolve(name)
    except (ImportError, AttributeError) as error:
        raise LookupError(
            f'there is no exception "{name}" ({error}).') from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise LookupError(f'"{name}" is no exception.')
    return f'{found.__module__}.{found.__qualname__}'


class IRenamedDirective(zope.interface.Interface):
    """Tell where an asynchronous function is now.

    Calls of the old name that are stored already run the new one.
    """

    old = zope.schema.DottedName(
        title='Old name',
        description='Module and name under which the calls were stored.',
        min_dots=1,
        required=True)

    new = zope.schema.DottedName(
        title='New name',
        description='Module and name of the function.',
        min_dots=1,
        required=True)


def renamed(_context, old, new):
    """Register the new name under the old one."""
    declare(_context, 'renamed', RenamedFunction(new), IRenamedFunction, old,
            lambda: _check_renamed(old))


def _check_renamed(old):
    try:
        new = current_name(old)
        found = find_function(new)
    except (LookupError, CannotRun) as error:
        raise ConfigurationError(
            f'async:renamed old="{old}": {error}') from error
    if _find(old) not in (None, found):
        raise ConfigurationError(
            f'async:renamed old="{old}": there still is an asynchronous '
            f'function of that name, and calls of it would run "{new}"; '
            f'give it another name, or leave out the directive.')


def _find(name):
    try:
        return find_function(name)
    except LookupError:
        return None
