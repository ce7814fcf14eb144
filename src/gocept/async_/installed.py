"""Whether the package lovely.remotetask is the one that was installed here.

The distribution lovely.remotetask of 2010 has files of the same names.  What
depends on it still lets pip put its files over ours; and when it is
uninstalled, pip deletes them whosoever they are.  This is noticed before
anything of them is imported.
"""

import csv
import importlib.metadata
import warnings
from pathlib import Path
from typing import NamedTuple


OTHER = 'lovely.remotetask'

AGAIN = 'pip install --force-reinstall --no-deps gocept.async'

SPOILT = (
    'Files of the package lovely.remotetask are missing, or are those of '
    'another distribution: {}. gocept.async brings this package; most likely '
    'pip has installed or uninstalled the distribution lovely.remotetask '
    'since. Uninstall that first, and then install gocept.async again: '
    'pip uninstall lovely.remotetask; ' + AGAIN)

ALSO = (
    'The distribution lovely.remotetask {} is installed, too. gocept.async '
    'brings the package lovely.remotetask; when the other one is uninstalled, '
    'pip deletes the files of both. Take it out of install_requires, '
    'uninstall it, and then install gocept.async again: '
    'pip uninstall lovely.remotetask; ' + AGAIN)

# How many files a message names.
SHOWN = 3


class _File(NamedTuple):
    """A module, as it was installed.

    size -- str, in bytes; empty where nobody has said it.
    """

    name: str
    path: Path
    size: str


def check(find=importlib.metadata.distribution):
    """Raise ImportError if files are spoilt; warn if they are about to be.

    find -- called with the name of a distribution, returns it, or raises
        PackageNotFoundError.
    """
    other = _found(find, OTHER)
    if other is not None and not _ours(other):
        # Somebody's empty one of that name, so that all requirements are met.
        other = None
    spoilt = [file.name for file in _ours(_found(find, 'gocept.async'))
              if not _is_there(file, other is None)]
    if spoilt:
        raise ImportError(SPOILT.format(', '.join(spoilt[:SHOWN])))
    if other is not None:
        warnings.warn(ALSO.format(other.version), stacklevel=2)


def _found(find, name):
    try:
        return find(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ours(distribution):
    """Return the modules of the package that a distribution has."""
    # Not by `files`: from Python 3.12 on, those that are missing are not among
    # them.  A checkout that is installed lists none of its files.
    record = None if distribution is None else distribution.read_text('RECORD')
    return [_File(name, Path(distribution.locate_file(name)), size)
            for name, _, size in csv.reader((record or '').splitlines())
            if name.startswith('lovely/remotetask/') and name.endswith('.py')]


def _is_there(file, may_differ):
    """Return whether a file is as it was installed.

    may_differ -- whether somebody may have edited it: nobody else has a file
        of that name.
    """
    return file.path.is_file() and (
        may_differ or not file.size
        or file.path.stat().st_size == int(file.size))


check()
