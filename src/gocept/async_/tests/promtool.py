"""Prometheus' own tool, which checks alerts and metrics.

``.ci/run`` installs it, and says in PROMTOOL what it is called.
"""

import os
import subprocess
import unittest
from pathlib import Path

import gocept.async_


PROMTOOL = os.environ.get('PROMTOOL')

ALERTS = (Path(gocept.async_.__file__).parents[3]
          / 'docs' / 'howto' / 'metrics')

needs_promtool = unittest.skipUnless(PROMTOOL, 'PROMTOOL names no promtool')


def complaints(*arguments, text=None):
    """Return what promtool says, '' if it is content.

    text -- what it is to check, by its standard input.
    """
    found = subprocess.run(
        [PROMTOOL, *arguments], input=text, text=True, cwd=ALERTS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return '' if found.returncode == 0 else found.stdout
