"""Times as a crontab writes them: the text of a field, and five of them."""

from typing import NamedTuple

from lovely.remotetask.number import exact
from lovely.remotetask.number import shown


DAYS = ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday',
        'sunday')
MONTHS = ('january', 'february', 'march', 'april', 'may', 'june', 'july',
          'august', 'september', 'october', 'november', 'december')

# Texts longer than this are endless, or a mistake.
MAX_SIZE = 1000


class Field(NamedTuple):
    """What may be in a field.

    names -- the first of them stands for the number `named_from`.
    shift -- of days of the week alone, which go round: what is added to a
        number to have that of ICronJob, in which Monday is 0.
    """

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    named_from: int = 0
    shift: int | None = None

    def value(self, text: str) -> int:
        """Return the number that a text stands for, or raise ValueError."""
        if (text.isascii() and text.isdigit() and len(text) <= len('59')
                and self.low <= int(text) <= self.high):
            return int(text)
        for number, name in enumerate(self.names, self.named_from):
            if text in (name, name[:3]):
                return number
        raise ValueError(
            f'{self.title} must be {self.allowed}, not {shown(text)}')

    @property
    def allowed(self) -> str:
        """What may be written, as a text."""
        names = (f' or {self.names[0][:3]} to {self.names[-1][:3]}'
                 if self.names else '')
        return f'{self.low} to {self.high}{names}'

    def span(self, text: str) -> tuple[int, int]:
        """Return the first and the last number of a part of a field."""
        if text == '*':
            # Sunday has two numbers in a crontab.
            last = self.high if self.shift is None else self.low + 6
            return self.low, last
        first_text, dash, last_text = text.partition('-')
        first = self.value(first_text)
        last = self.value(last_text) if dash else first
        if last < first and self.shift is not None:
            return first, last + len(DAYS)
        if last < first:
            raise ValueError(
                f'{self.title} goes backwards in {shown(text)}; write two '
                f'ranges, {first}-{self.high},{self.low}-{last}')
        return first, last

    def step(self, text: str) -> int:
        """Return the number after a slash."""
        if (text.isascii() and text.isdigit() and len(text) <= len('59')
                and 1 <= int(text) <= self.high):
            return int(text)
        raise ValueError(
            f'{self.title} must have a step of 1 to {self.high} after the '
            f'slash, not {shown(text)}')

    def numbers(self, text: str) -> tuple[int, ...]:
        """Return the numbers of ICronJob for a text, or raise ValueError.

        A list of numbers, names, ranges and steps: ``1,15-20``, ``*/5``,
        ``mon-fri``.
        """
        if len(text) > MAX_SIZE:
            raise ValueError(f'{self.title} is longer than {MAX_SIZE} '
                             f'characters')
        found: set[int] = set()
        for part in exact(text).lower().split(','):
            found.update(self._of_part(part.strip()))
        return tuple(sorted(found))

    def _of_part(self, text: str) -> list[int]:
        span, slash, step = text.partition('/')
        if slash and span != '*' and '-' not in span:
            raise ValueError(
                f'{self.title} has a step without a range, {shown(text)}; '
                f'write {span}-{self.high}/{step}')
        first, last = self.span(span.strip())
        numbers = range(first, last + 1, self.step(step) if slash else 1)
        if self.shift is None:
            return list(numbers)
        return [(number + self.shift) % len(DAYS) for number in numbers]


# By the names of ICronJob, as its users write them.
FIELDS = {
    'minute': Field('minute', 0, 59),
    'hour': Field('hour', 0, 23),
    'dayOfMonth': Field('dayOfMonth', 1, 31),
    'month': Field('month', 1, 12, MONTHS, 1),
    'dayOfWeek': Field('dayOfWeek', 0, 6, DAYS, 0, 0),
}

# The same in the order of a crontab, where Monday is 1 and Sunday 0 or 7.
CRONTAB = {
    'minute': FIELDS['minute'],
    'hour': FIELDS['hour'],
    'dayOfMonth': FIELDS['dayOfMonth']._replace(title='day of the month'),
    'month': FIELDS['month'],
    'dayOfWeek': Field('day of the week', 0, 7, DAYS, 1, 6),
}

NICKNAMES = {
    '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *',
    '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *', '@yearly': '0 0 1 1 *',
    '@annually': '0 0 1 1 *'}


def fields(expression: str) -> dict[str, tuple[int, ...]]:
    """Return the fields of ICronJob for the five fields of a crontab.

    Raise ValueError, with a sentence, for what is none, and for days of the
    month together with days of the week: a crontab means either of them, an
    ICronJob both.
    """
    try:
        return _fields(expression)
    except ValueError as error:
        raise ValueError(
            f'The expression {shown(expression)} cannot be used: {error}. '
            f'Write five fields like "0 2 * * mon-fri": minute, hour, day of '
            f'the month, month, day of the week.') from error


def _fields(expression: str) -> dict[str, tuple[int, ...]]:
    text = exact(expression)
    if type(text) is not str or len(text) > MAX_SIZE:
        raise ValueError(f'it is no text of up to {MAX_SIZE} characters')
    texts = NICKNAMES.get(text.strip().lower(), text).split()
    if len(texts) != len(CRONTAB):
        raise ValueError(f'it has {len(texts)} fields, not five')
    found = {name: () if text == '*' else field.numbers(text)
             for text, (name, field) in zip(
                 texts, CRONTAB.items(), strict=True)}
    # A field that begins with a star is none to a crontab, whatever follows.
    days = [text for text in (texts[2], texts[4]) if not text.startswith('*')]
    if len(days) == 2:
        raise ValueError(
            'a crontab runs this on each such day of the month, and on each '
            'such day of the week besides; two jobs do that, each with a '
            'star in one of the two fields')
    if any(found.values()) and texts[0] == '*':
        # An empty field would stand for the first minute.
        found['minute'] = FIELDS['minute'].numbers('*')
    return found
