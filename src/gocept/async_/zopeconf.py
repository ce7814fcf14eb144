"""Read the zope.conf of an application, without opening its databases."""

import contextlib
import re
from pathlib import Path

import ZConfig

from lovely.remotetask.running.server import server


def read(path):
    """Return the IConfiguration of a zope.conf.

    ValueError tells what is wrong.
    """
    try:
        return server().read(path)
    except (ZConfig.ConfigurationError, OSError) as error:
        raise ValueError(
            f'{path} cannot be read; correct it: '
            f'{_without_secrets(str(error), path)}') from None


def _without_secrets(text, path):
    """Return a message without what it quotes of lines with secrets.

    Those are where a URL may be, which has a password.
    """
    lines = ''
    with contextlib.suppress(OSError):
        lines = Path(path).read_text(errors='replace')
    # Without the key, if there is one.
    secret = [' '.join(line.split()[1:]) or line
              for line in lines.splitlines()
              if '://' in line or 'celery' in line]
    return re.sub("'([^']*)'", lambda found: "'**'" if any(
        found[1] in line for line in secret) else found[0], text)
