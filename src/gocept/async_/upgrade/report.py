"""What the command async-upgrade prints of a service."""

from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.storage.fate import FOUND
from lovely.remotetask.storage.fate import HOLDS
from lovely.remotetask.storage.fate import LOST
from lovely.remotetask.storage.fate import PATTERN
from lovely.remotetask.storage.fate import REPAIRED
from lovely.remotetask.storage.fate import UNREADABLE


# What each kind of finding begins with.
TITLES = {FOUND: 'found', LOST: 'lost', HOLDS: 'held',
          PATTERN: 'pattern changed', UNREADABLE: 'unreadable',
          REPAIRED: 'repaired'}

# How many ids are shown of one line.
IDS = 5

# These need nobody's attention.
HARMLESS = (FOUND, LOST, REPAIRED)


def lines(found, examination, is_declared):
    """Yield the lines of a service.

    found -- search.Found.
    examination -- Examination.
    """
    declared = '' if is_declared else ' (not declared)'
    state = 'is to be brought' if examination.is_old else 'is'
    yield (f'{found.site}: service "{found.name}"{declared} {state} up to '
           f'date')
    yield f'  jobs: {_counted(examination.counts)}'
    for text in examination.trouble:
        yield f'  unreadable: {escaped(text)}'
    for (kind, text), ids in _grouped(examination.findings).items():
        yield f'  {TITLES[kind]}, {_ids(ids)}: {escaped(text)}'
    for text, ids in examination.unfit.items():
        yield f'  cannot be run, {_ids(ids)}: {escaped(text)}'


def needs_attention(examination):
    """Return whether somebody has to look at the jobs of a service."""
    return bool(examination.unfit or examination.trouble or any(
        finding.kind not in HARMLESS for finding in examination.findings))


def _counted(counts):
    return ', '.join(f'{counts[status]} {status}' for status in STATUSES
                     if counts.get(status)) or 'none'


def _grouped(findings):
    grouped = {}
    for finding in findings:
        grouped.setdefault((finding.kind, finding.text), []).append(
            finding.jobid)
    return grouped


def _ids(ids):
    shown = ', '.join(map(str, ids[:IDS]))
    if len(ids) == 1:
        return f'job {shown}'
    more = ', ...' if len(ids) > IDS else ''
    return f'{len(ids)} jobs ({shown}{more})'
