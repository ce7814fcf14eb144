"""docs/howto/grok: a Grok application, in an environment of its own."""

import os
import subprocess
import unittest

from gocept.async_.tests import documents


# A Python with Grok; .ci/run makes one for each version that there is.
PYTHON = os.environ.get('GROK_PYTHON')


@unittest.skipUnless(PYTHON, 'GROK_PYTHON names no Python that has Grok')
class GrokTest(unittest.TestCase):

    def test_example(self):
        """Its own tests: a thread, the pages, and no processor at all."""
        folder = documents.DOCS / 'howto' / 'grok'
        done = subprocess.run(
            [PYTHON, '-m', 'pytest', '-p', 'no:cacheprovider'], cwd=folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'})
        print(done.stdout.splitlines()[-1:])
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn(' passed', done.stdout)
