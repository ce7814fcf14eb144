"""What is asked for by the query of an address: checked, and short."""

import datetime

from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


# How long a parameter may be, in characters.
SIZE = 1000

# How long the end of a page may be: it tells of each strand how far the page
# has come, and ten priorities of a thousand lanes are as many.
AFTER_SIZE = 1 << 17

# How many jobs a page may have.
LIMITS = 1, 500


def text(form, name, size=SIZE):
    """Return a parameter, None if it is missing or empty."""
    found = form.get(name)
    if found is None or found == '':
        return None
    if not isinstance(found, str) or len(found) > size:
        raise Problem(400, _('"${name}" must be given once, with ${size} '
                             'characters at most.'), name=name, size=size)
    return found.strip() or None


def after(form):
    """Return the end of the page before, None if the first one is meant."""
    return text(form, 'after', AFTER_SIZE)


def number(form, name, default=None):
    """Return a parameter that is a whole number, not negative.

    A text; or a number, as JSON has them.
    """
    found = form.get(name)
    found = text(form, name) if isinstance(found, str | None) else (
        str(found) if type(found) is int else '')
    if found is None:
        return default
    if not (found.isascii() and found.isdecimal() and len(found) < 20):
        raise Problem(400, _('"${name}" must be a whole number.'), name=name)
    return int(found)


def limit(form, default=50):
    """Return how many jobs are asked for."""
    found = number(form, 'limit', default)
    if not LIMITS[0] <= found <= LIMITS[1]:
        raise Problem(400, _('"limit" must be from ${least} to ${most}.'),
                      least=LIMITS[0], most=LIMITS[1])
    return found


def time(form, name):
    """Return a parameter that is a time, in POSIX seconds.

    ISO 8601; UTC, if it says no offset.
    """
    found = text(form, name)
    if found is None:
        return None
    try:
        when = datetime.datetime.fromisoformat(found)
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        return when.timestamp()
    except (ValueError, OverflowError) as error:
        raise Problem(
            400, _('"${name}" must be a time like 2026-01-31T14:30.'),
            name=name) from error
