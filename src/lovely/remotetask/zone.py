"""Time zones by their names, and why one cannot be had."""

import datetime
import difflib
import functools
import struct
import zoneinfo

from lovely.remotetask.interfaces import NoTimeZone
from lovely.remotetask.number import exact
from lovely.remotetask.number import shown


# Names of the IANA database are much shorter.
MAX_NAME = 100


def check_name(name: str | None) -> str | None:
    """Return the name of a time zone as it is stored; None stands for UTC.

    Raise ValueError, or NoTimeZone, if it is not in the IANA database.
    """
    if name is None:
        return None
    _check_type(name)
    name = exact(name)
    # zoneinfo would take whatever file it finds: zones with leap seconds
    # ("right/..."), or other letters on a file system without case.
    if name != 'UTC' and name not in _names():
        raise NoTimeZone(_why_not(name))
    find(name)
    return name


def find(name: str | None) -> datetime.tzinfo:
    """Return the tzinfo of a name, UTC for None.

    Raise NoTimeZone if this process has no such time zone.
    """
    if name is None or name == 'UTC':
        return datetime.UTC
    _check_type(name)
    try:
        return zoneinfo.ZoneInfo(name)
    # zoneinfo raises these for an unknown or a bad name, a folder, a damaged
    # file.
    except (LookupError, ValueError, OSError, struct.error) as error:
        raise NoTimeZone(_why_not(name)) from error


def is_in_no_data(name: object) -> bool:
    """Return whether this process has time zones, but none of a name.

    Its data may be old, or without names that were given up.
    """
    return bool(_names()) and name not in _names()


def _check_type(name: object) -> None:
    if isinstance(name, str):
        return
    advice = 'write a name of the IANA database like "Europe/Berlin"'
    if isinstance(name, datetime.tzinfo):
        key = 'UTC' if name is datetime.UTC else getattr(name, 'key', None)
        if isinstance(key, str):
            advice = f'write its name, timezone={key!r}'
    raise ValueError(f'timezone is {shown(name)}; {advice}.')


def _why_not(name: str) -> str:
    names = _names()
    if not names:
        return (
            f'This process has no time zone data at all, so it cannot tell '
            f'the time in {shown(name)}. Install the package tzdata of the '
            f'operating system, or "pip install tzdata".')
    if name in names:
        return (
            f'The data of the time zone {shown(name)} cannot be read by this '
            f'process. Install tzdata anew.')
    return (
        f'There is no time zone {shown(name)} in the data of this process'
        f'{_similar(name, names)}. Use a name of the IANA database like '
        f'"Europe/Berlin"; for a name that is new, or was given up, bring '
        f'tzdata up to date.')


def _similar(name: str, names: frozenset[str]) -> str:
    if len(name) > MAX_NAME:
        return ''
    folded = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), folded, 1)
    return f' (did you mean "{folded[found[0]]}"?)' if found else ''


def _names() -> frozenset[str]:
    found = _names_in(zoneinfo.TZPATH)
    if not found:
        # Somebody may install the data while this process runs.
        _names_in.cache_clear()
    return found


@functools.lru_cache(maxsize=4)
def _names_in(path: tuple[str, ...]) -> frozenset[str]:
    # zoneinfo looks at each file, which takes some hundredths of a second.
    # "localtime" is another time zone on each machine.
    return frozenset(zoneinfo.available_timezones()) - {'localtime'}
