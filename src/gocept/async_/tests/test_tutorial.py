"""The tutorial, done step by step as it is written."""

import contextlib
import tempfile
import unittest

from gocept.async_.tests import documents
from gocept.async_.tests import reader
from gocept.async_.tests.workerstage import free_port


PAGES = 'invoices', 'worker'

# What this machine may use for something else.
PORTS = '8080', '9100'


class TutorialLayer:
    """A layer of its own: `bin/test` runs it beside others."""


@unittest.skipUnless(
    documents.DOCS.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class TutorialTest(unittest.TestCase):

    # It starts servers: see CONTRIBUTING.rst.
    level = 2
    layer = TutorialLayer

    def setUp(self):
        stack = self.enterContext(contextlib.ExitStack())
        ports = {port: str(free_port()) for port in PORTS}
        self.terminal = reader.Terminal(
            stack, stack.enter_context(tempfile.TemporaryDirectory()), ports)
        self.browser = reader.Browser(int(ports['8080']), 'clara')

    def test_both_parts(self):
        """The second one goes on where the first one has ended."""
        for name in PAGES:
            path = documents.DOCS / 'tutorial' / f'{name}.rst'
            for step in documents.steps(path):
                self.do(step)

    def test_prompt(self):
        """The application can be opened at a prompt, as a how-to tells."""
        for step in documents.blocks(documents.DOCS / 'tutorial' /
                                     'invoices.rst'):
            if step.caption or 'mkdir' in step.text:
                self.do(step)
        lines = ''.join(
            block.text for block in documents.blocks(
                documents.DOCS / 'howto' / 'debug.rst')
            if block.notes.get('run by') == 'test_tutorial')
        self.terminal.write('prompt.py', (
            f'{lines}\nimport gocept.async_\n'
            f'print(gocept.async_.service("invoices").counts()["queued"])\n'))
        self.terminal.type('PYTHONPATH=. python prompt.py', '0\n')

    def do(self, step):
        if isinstance(step, documents.Note):
            {'browser': self.browser.do, 'log': self.terminal.read,
             'ctrl-c': self.terminal.stop}[step.verb](step.text)
        elif 'not run' in step.notes:
            return
        elif step.caption:
            self.terminal.write(step.caption, step.text)
        elif step.language == 'console':
            for command, expected in reader.commands(step.text):
                self.terminal.type(command, expected)
        else:
            # What the terminal shows: a note says what to look for.
            self.assertEqual('none', step.language)
