"""The ``async:service`` directive."""

import re

import zope.component
import zope.component.zcml
import zope.interface
import zope.schema
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import Bool

from gocept.async_.declaration import ServiceDeclaration
from gocept.async_.declaration import declarations
from gocept.async_.interfaces import IServiceDeclaration
from lovely.remotetask.interfaces import IProcessorFactory


# Processors may be registered anywhere in the ZCML; check when all is read.
LAST = 10 ** 6


class IServiceDirective(zope.interface.Interface):
    """Declare a task service.

    It is created and registered when the application opens its database.
    """

    name = zope.schema.TextLine(
        title='Name',
        description='The name decorated functions refer to.',
        constraint=re.compile(r'(?![+@])[^/]*\Z').match,
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
        default=1,
        required=True)

    wait_time = zope.schema.Float(
        title='Wait time',
        description='Seconds an idle processor waits at most before it '
                    'looks for jobs. Jobs added in its own process wake it '
                    'at once.',
        min=0.01,
        default=1.0,
        required=True)

    autostart = Bool(
        title='Start automatically',
        description='Whether a web application starts the processor.',
        default=True,
        required=True)

    site = zope.schema.TextLine(
        title='Site',
        description='Path of the site that holds the service, names between '
                    'slashes; the root folder if it is not given.',
        default='/',
        required=True)


def service(_context, **settings):
    """Register the declaration; nothing is opened or started here."""
    declaration = ServiceDeclaration(**settings)
    _context.action(
        discriminator=('gocept.async:service', declaration.name),
        callable=zope.component.zcml.handler,
        args=('registerUtility', declaration, IServiceDeclaration,
              declaration.name, _context.info))
    _context.action(
        discriminator=None,
        callable=_check,
        args=(declaration,),
        order=LAST)


def _check(declaration):
    if declaration not in declarations():
        # Overridden: includeOverrides keeps this action nevertheless.
        return
    known = dict(zope.component.getUtilitiesFor(IProcessorFactory))
    factory = known.get(declaration.processor)
    if factory is None:
        raise ConfigurationError(
            f'async:service "{declaration.name}": no processor '
            f'"{declaration.processor}"; choose one of '
            f'{", ".join(sorted(known)) or "(none is registered)"}.')
    try:
        factory.check(declaration.processorArguments['maxThreads'])
    except ValueError as error:
        raise ConfigurationError(
            f'async:service "{declaration.name}": {error}') from error
