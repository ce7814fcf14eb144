"""The directive ``async:cron``."""

import inspect
import re

import zope.interface
import zope.schema
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import GlobalObject

from gocept.async_.crons.declaration import CronDeclaration
from gocept.async_.crons.declaration import declarations_of
from gocept.async_.crons.function import check
from gocept.async_.declaration import declarations
from gocept.async_.interfaces import ICronDeclaration
from gocept.async_.lookup import is_decorated
from gocept.async_.zcml import declare
from lovely.remotetask import crontab


class ICronDirective(zope.interface.Interface):
    """Declare a cron job.

    Each service has one job of a name, however often and in however many
    processes the application starts; it is changed, and goes, with the
    directive.  A pause lasts until somebody ends it.
    """

    name = zope.schema.TextLine(
        title='Name',
        description='That of the job, in its service.',
        constraint=re.compile(r'\S(.*\S)?\Z').match,
        max_length=100,
        required=True)

    function = GlobalObject(
        title='Function',
        description='The dotted name of a decorated function, which is called '
                    'without arguments.',
        required=True)

    service = zope.schema.TextLine(
        title='Service',
        description='Name of the declared service that runs it, in its site.',
        default='',
        required=True)

    expression = zope.schema.TextLine(
        title='Expression',
        description='When it is run, as five fields of a crontab: minute, '
                    'hour, day of the month, month, day of the week (1 or '
                    '"mon" is Monday, 0 and 7 are Sunday).',
        default='',
        required=True)

    minute = zope.schema.TextLine(
        title='Minutes',
        description='0 to 59, instead of an expression: "30", "0,30", "*/5".',
        default='',
        required=True)

    hour = zope.schema.TextLine(
        title='Hours',
        description='0 to 23, in the same way; without minutes, on the hour.',
        default='',
        required=True)

    dayOfMonth = zope.schema.TextLine(
        title='Days of the month',
        description='1 to 31, in the same way; without hours, at 00:00.',
        default='',
        required=True)

    month = zope.schema.TextLine(
        title='Months',
        description='1 to 12, or "jan" to "dec"; without days, on the first.',
        default='',
        required=True)

    dayOfWeek = zope.schema.TextLine(
        title='Days of the week',
        description='"mon" to "sun", or 0 (Monday) to 6: "mon-fri". With days '
                    'of the month, both must match.',
        default='',
        required=True)

    timezone = zope.schema.TextLine(
        title='Time zone',
        description='A name of the IANA database, like "Europe/Berlin".',
        default='UTC',
        required=True)

    principal = zope.schema.TextLine(
        title='Principal',
        description='Id of the principal as whom it is run; without it, as '
                    'nobody, who may do nothing that needs a permission.',
        required=False)


def cron(_context, name, function, service='', expression='',
         timezone='UTC', principal=None, **fields):
    """Register the declaration; nothing is opened or added here."""
    given = {field: text for field, text in fields.items() if text}
    try:
        declaration = CronDeclaration(
            name, service, _name_of(function), _principal(principal),
            {**_pattern(expression, given), 'timezone': _zone(timezone)})
    except ValueError as error:
        raise ConfigurationError(f'async:cron "{name}": {error}') from error
    declare(_context, 'cron', declaration, ICronDeclaration, declaration.key,
            lambda: _check_service(declaration))


def _pattern(expression, given):
    """Return the fields of a pattern.  Raise ValueError."""
    if bool(expression) == bool(given):
        raise ValueError(
            'it must say when it is run, by an expression, like "0 2 * * '
            'mon-fri", or by attributes, like hour="2"; not '
            + ('by both.' if given else 'by neither; "* * * * *" is each '
                                        'minute.'))
    return crontab.fields(expression) if expression else given


def _zone(name):
    return None if name == 'UTC' else name


def _principal(principal):
    if principal is not None and not principal.strip():
        raise ValueError(
            f'principal="{principal}" is the id of nobody; give that of a '
            f'principal, or leave it out to run the job as nobody.')
    return principal


def _name_of(function):
    """Return the name of a decorated function.  Raise ValueError."""
    decorated = inspect.unwrap(function, stop=is_decorated) \
        if callable(function) else function
    if not is_decorated(decorated):
        raise ValueError(
            f'{function!r} is no decorated function; decorate it with '
            f'gocept.async_.function.')
    return check(decorated)


def _check_service(declaration):
    if declaration not in declarations_of(declaration.service):
        # Overridden: includeOverrides keeps this action nevertheless.
        return
    known = [each.name for each in declarations()]
    if declaration.service not in known:
        raise ConfigurationError(
            f'async:cron "{declaration.name}": no service '
            f'"{declaration.service}" is declared; choose one of '
            f'{", ".join(known) or "(none is)"}, or add <async:service '
            f'name="{declaration.service}" />.')
