"""The messages that docs/howto/troubleshooting.rst explains are real ones."""

import ast
import re
import unittest
from pathlib import Path

import gocept.async_
from gocept.async_.tests import documents


SOURCE = Path(gocept.async_.__file__).parents[2]
DOCUMENT = documents.DOCS / 'howto' / 'troubleshooting.rst'

# A message is a block of this class.
MESSAGE = re.compile(
    r'^\.\. code-block:: none\n    :class: message\n\n((?: {4}.+\n)+)', re.M)

# Fewer than these would say that the document is not read as it is meant to.
LEAST = 30


def texts(tree):
    """Yield the texts in a module, with dots for what is put into them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield ''.join(
                part.value if isinstance(part, ast.Constant) else '...'
                for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # The arguments of a log line.
            yield re.sub(r'%s|%r|%\.0f', '...', node.value)


def messages():
    """Return all texts of the packages."""
    return {text for path in SOURCE.rglob('*.py')
            if 'tests' not in path.parts
            for text in texts(ast.parse(path.read_text(encoding='utf-8')))}


@unittest.skipUnless(
    DOCUMENT.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class TroubleshootingTest(unittest.TestCase):

    def documented(self):
        return [' '.join(found.split()) for found in MESSAGE.findall(
            DOCUMENT.read_text(encoding='utf-8'))]

    def test_messages(self):
        """Each is in the source, with dots for what is different each time.
        """
        known = messages()
        documented = self.documented()
        self.assertGreaterEqual(len(documented), LEAST)
        self.assertEqual([], [
            message for message in documented
            if not any(message in text for text in known)])

    def test_each_once(self):
        documented = self.documented()
        self.assertEqual(len(documented), len(set(documented)))
