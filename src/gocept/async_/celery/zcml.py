"""The directive ``async:celery``."""

import zope.interface
import zope.schema
from zope.configuration.exceptions import ConfigurationError

from gocept.async_.celery.settings import PUBLISH_TIMEOUT
from gocept.async_.celery.settings import RESEND_AFTER
from gocept.async_.celery.settings import Broker
from gocept.async_.celery.settings import parse_options
from gocept.async_.celery.settings import parse_seconds
from gocept.async_.interfaces import IBroker
from gocept.async_.zcml import register


class Hidden(zope.schema.TextLine):
    """A text that no error message shows.

    Those of ZCML show the lines of the directive, and the value.  What is
    wrong with it is told by who uses it.
    """

    def bind(self, context):
        # Also if the attribute is missing: its name may be a wrong one.
        info = context.info
        if hasattr(info, 'eline'):
            info.eline, info.ecolumn = info.line, info.column
        return super().bind(context)

    def fromUnicode(self, value):
        return value


class Seconds(zope.schema.Float):
    """A positive number of seconds; if it is none, it is not shown."""

    def fromUnicode(self, value):
        try:
            return parse_seconds(value)
        except ValueError as error:
            raise zope.schema.ValidationError(str(error)) from None


class ICeleryDirective(zope.interface.Interface):
    """Tell where the broker for the services with processor="celery" is.

    What <product-config gocept.async> of zope.conf says is taken instead;
    there the names are celery-broker, celery-options and so on.
    """

    broker = Hidden(
        title='Broker',
        description='URL of the broker, like redis://localhost:6379/0. One '
                    'with a password is better told in zope.conf.',
        required=False)

    options = Hidden(
        title='Options',
        description="Further settings of Celery, under Celery's names: a "
                    'JSON object.',
        default='{}',
        required=True)

    publish_timeout = Seconds(
        title='Publish timeout',
        description='Seconds that a request is delayed at most by a broker '
                    'that is down or slow.',
        default=PUBLISH_TIMEOUT,
        required=True)

    resend_after = Seconds(
        title='Resend after',
        description='Seconds a job waits, while its queue in the broker is '
                    'empty, before its message is taken for lost and sent '
                    'again. While the queue is not empty, 30 times as long.',
        default=RESEND_AFTER,
        required=True)


def celery(_context, options, publish_timeout, resend_after, broker=None):
    """Register what is said; nothing is connected here."""
    try:
        settings = parse_options(options)
    except ValueError as error:
        raise ConfigurationError(
            f'async:celery: options: {error}') from None
    _context.action(
        discriminator='gocept.async:celery', callable=register,
        args=('celery',
              Broker(broker, settings, publish_timeout, resend_after),
              IBroker, '', _context.info))
