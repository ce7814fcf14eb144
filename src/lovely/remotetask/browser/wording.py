"""What the pages say: sentences in the language of the reader."""

import zope.i18n
from zope.i18nmessageid import Message
from zope.i18nmessageid import MessageFactory

from lovely.remotetask import interfaces


_ = MessageFactory('lovely.remotetask')

STATUSES = {
    interfaces.QUEUED: _('status-queued', 'Queued'),
    interfaces.PROCESSING: _('status-processing', 'Running'),
    interfaces.DELAYED: _('status-delayed', 'Delayed'),
    interfaces.CRONJOB: _('status-cronjob', 'Cron'),
    interfaces.STARTLATER: _('status-startlater', 'Start later'),
    interfaces.HELD: _('status-held', 'Held'),
    interfaces.ERROR: _('status-error', 'Failed'),
    interfaces.CANCELLED: _('status-cancelled', 'Cancelled'),
    interfaces.COMPLETED: _('status-completed', 'Completed'),
}

# Seconds, and what to say of so many of them: the largest unit that fits.
UNITS = (
    (86400, _('${number} d ago'), _('in ${number} d')),
    (3600, _('${number} h ago'), _('in ${number} h')),
    (60, _('${number} min ago'), _('in ${number} min')),
    (1, _('${number} s ago'), _('in ${number} s')),
)

NOW = _('now')


class Words:
    """Translates into the language that a request prefers."""

    def __init__(self, request):
        self._request = request
        # A table says the same in each of its rows.
        self._said = {}

    def __call__(self, message, **mapping):
        """Return the text of a message; what is no message stays."""
        text = self._translated(message)
        return zope.i18n.interpolate(text, {
            name: (self._translated(value) if isinstance(value, Message)
                   else value)
            for name, value in mapping.items()}) if mapping else text

    def _translated(self, message):
        if not isinstance(message, Message) or message.mapping:
            return zope.i18n.translate(message, context=self._request)
        # Messages are equal whose text alone is.
        key = message.domain, str(message), message.default
        if key not in self._said:
            self._said[key] = zope.i18n.translate(
                message, context=self._request)
        return self._said[key]

    def status(self, status):
        """Return what to call a status."""
        return self(STATUSES.get(status, status))

    def service(self, name):
        """Return what to call a service: its name, unless that is blank."""
        return name if name.strip() else self(_('(no name)'))

    def relative(self, seconds):
        """Return how long ago something was; ahead, if it is negative."""
        for size, past, ahead in UNITS:
            if abs(seconds) >= size:
                return self(past if seconds > 0 else ahead,
                            number=int(abs(seconds) // size))
        return self(NOW)

    def units(self):
        """Return the words of `relative`, for the script of the pages."""
        return {'now': self(NOW), 'units': [
            [size, self(past), self(ahead)] for size, past, ahead in UNITS]}


def duration(seconds):
    """Return the text of a duration: ``35 ms``, ``1.2 s``, ``3 min 4 s``."""
    if seconds is None:
        return ''
    if seconds < 0.9995:
        return f'{max(seconds, 0) * 1000:.0f} ms'
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest} s'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes} min'
    days, hours = divmod(hours, 24)
    return f'{days} d {hours} h'


def shortened(text, size=40):
    """Return a text without its middle, if it is longer than `size`."""
    if len(text) <= size:
        return text
    end = (size - 1) // 2
    return f'{text[:size - 1 - end]}…{text[-end:]}'
