"""What of a broker is secret, and is shown to nobody."""

import json
import logging
import re
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import unquote_plus


# What stands for a secret.
MASK = '**'

# Shorter ones are not looked for in texts, which would be unreadable without
# them.
SHORTEST = 3

# Names of settings, and of parameters of a URL, whose values are secret; the
# path of a file is not.
SECRET = re.compile(
    r'(?!.*(file|path|certs?|dir)\Z)'
    r'.*(pass|pwd|secret|token|key|credential|auth|login_response)', re.I)

# What cannot be secret in a URL, whatever the parameter is called.
HARMLESS = re.compile(r'[\d.]*|true|false|none|required|optional|'
                      r'CERT_[A-Z]+|/.*', re.I)

SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*\Z')
HOST = re.compile(
    r'(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^:\[\]\s]*)(?::(\d{1,5}))?\Z')
LAST_PORT = 65535

ADVICE = ('write it like redis://:password@host:6379/0, and in the password '
          '%2F for /, %3F for ?, %23 for #, %40 for @, %3B for ;, %25 for %.')


def check_url(url):
    """Raise ValueError unless everybody finds the password in a URL.

    url -- str; several of them have ; between.

    A URL that can be read in another way is taken apart at the wrong place,
    and messages show the parts of the password.
    """
    for part in url.split(';'):
        reason = _wrong(part)
        if reason is not None:
            raise ValueError(
                f'The URL of the broker cannot be used, for {reason}; '
                f'{ADVICE}')


def _wrong(url):
    """Return what is wrong with a URL, None if nothing is."""
    scheme, separator, _ = url.partition('://')
    authority, after = _split(url)
    userinfo, at, hosts = authority.rpartition('@')
    if not url.isprintable():
        return 'it has control characters'
    if not separator or not SCHEME.match(scheme):
        return 'it does not begin with a name and ://'
    if '@' in after or '#' in after:
        return 'it has an @ or a # where a path should be'
    if at and not userinfo.partition(':')[2]:
        return 'it has a user without a password'
    if not all(map(_is_place, hosts.split(','))):
        return 'its host or port is none'
    return None


def _split(url):
    """Return what stands before the path in a URL, and the rest."""
    rest = url.partition('://')[2]
    authority = re.split('[/?#]', rest, maxsplit=1)[0]
    return authority, rest[len(authority):]


def _is_place(text):
    found = HOST.match(text)
    return found is not None and int(found[1] or 0) <= LAST_PORT


def masked_url(url):
    """Return a URL without what may be secret; MASK if it is a wrong one."""
    parts = url.split(';')
    if any(_wrong(part) is not None for part in parts):
        return MASK
    return ';'.join(map(_masked, parts))


def _masked(url):
    authority, after = _split(url)
    _, at, hosts = authority.rpartition('@')
    scheme, path = url.partition('://')[0], after.partition('?')[0]
    return f'{scheme}://{MASK + at if at else ""}{hosts}{path}'


def secrets_of_url(url):
    """Return what is secret in a URL, as it is written there."""
    found = []
    for part in url.split(';'):
        authority, after = _split(part)
        found.append(authority.rpartition('@')[0].partition(':')[2])
        for parameter in after.partition('?')[2].split('&'):
            name, _, value = parameter.partition('=')
            if SECRET.match(name) or not HARMLESS.fullmatch(value):
                found.append(value)
    return [secret for secret in found if secret]


def secrets_of_options(options, is_secret=False):
    """Return what is secret in settings.

    options -- what can be written as JSON.
    is_secret -- whether all of it is.
    """
    if isinstance(options, dict):
        found = [secrets_of_options(
            value, is_secret or SECRET.match(name) is not None)
            for name, value in options.items()]
    elif isinstance(options, list):
        found = [secrets_of_options(value, is_secret) for value in options]
    elif is_secret and not isinstance(options, bool | None):
        return [str(options)]
    elif isinstance(options, str) and '://' in options:
        return secrets_of_url(options)
    else:
        return []
    return sum(found, [])


class Screen:
    """Hides secrets wherever they appear in a text.

    secrets -- str, as they were written, perhaps in a URL.
    """

    def __init__(self, secrets):
        found = {form for secret in secrets for form in _forms(secret)
                 if len(form) >= SHORTEST}
        # The longest first: one may be part of another.
        parts = map(re.escape, sorted(found, key=len, reverse=True))
        self._secrets = re.compile('|'.join(parts)) if found else None

    def hide(self, text):
        """Return the text without the secrets."""
        return text if self._secrets is None else self._secrets.sub(
            MASK, text)


def _forms(secret):
    """Return how a secret may look in a text."""
    for plain in (secret, unquote(secret), unquote_plus(secret)):
        yield plain
        yield quote(plain, errors='backslashreplace')
        yield quote(plain, safe='', errors='backslashreplace')
        # As Python and JSON show it.
        yield repr(plain)[1:-1]
        yield ascii(plain)[1:-1]
        yield json.dumps(plain)[1:-1]


class HidingFormatter(logging.Formatter):
    """Formats like another one, and hides secrets, also in tracebacks.

    hide -- called with a text, returns what may be shown of it.
    """

    def __init__(self, formatter, hide):
        super().__init__()
        self._formatter = formatter
        self._hide = hide

    def format(self, record):
        return self._hide(self._formatter.format(record))
