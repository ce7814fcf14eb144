"""The translations of the pages are whole, and as they were compiled."""

import re
import unittest

from lovely.remotetask.tests import catalogs


class CatalogsTest(unittest.TestCase):

    def test_up_to_date(self):
        """Each language has a text for all that is said, and nothing else.

        If this fails: bin/python -m lovely.remotetask.tests.catalogs
        """
        said = catalogs.messages()
        self.assertGreater(len(said), 100)
        for language in catalogs.LANGUAGES:
            found = catalogs.read(language)
            with self.subTest(language):
                self.assertEqual(set(said), set(found))
                self.assertEqual([], [key for key in found if not found[key]])
                self.assertEqual(
                    catalogs.compiled(language),
                    catalogs.path_of(language, 'mo').read_bytes())

    def test_placeholders(self):
        """A translation says what the original says."""
        for language in catalogs.LANGUAGES:
            for msgid, text in catalogs.read(language).items():
                with self.subTest(msgid):
                    self.assertEqual(
                        sorted(re.findall(r'\$\{\w+\}', msgid)),
                        sorted(re.findall(r'\$\{\w+\}', text)))
