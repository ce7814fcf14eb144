"""All documents: each block of code is run, or says why not."""

import unittest
from pathlib import Path

import gocept.async_
from gocept.async_.tests import documents
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.story import Story


SOURCE = Path(gocept.async_.__file__).parents[2]


def mentions(module, path):
    """Return whether a module of tests exists, and names a document."""
    return any(path.stem in found.read_text(encoding='utf-8')
               for found in SOURCE.rglob(f'{module}.py'))


@unittest.skipUnless(
    documents.DOCS.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class DocumentTest(FunctionalTestCase):
    """A test for each document, see the end of this module."""

    def run_document(self, path):
        story = Story(self)
        notes = documents.whole(path)
        for block in documents.blocks(path):
            if not self.is_excused(path, {**notes, **block.notes}):
                story.run(block)

    def test_tables(self):
        """No table has a first column that may wrap, and be broken in HTML.
        """
        for path in documents.paths():
            with self.subTest(path.name):
                self.assertEqual([], documents.wrapping_tables(path))

    def is_excused(self, path, notes):
        """Return whether something else is said of a block, and makes sense.
        """
        if 'run by' in notes:
            self.assertTrue(mentions(notes['run by'], path), notes)
        if 'not run' in notes:
            self.assertGreater(len(notes['not run'].split()), 2, notes)
        return bool(notes.keys() & {'run by', 'not run'})


def _test_of(path):
    def test(self):
        self.run_document(path)
    test.__doc__ = f'The code of {path.name} is run, or says why not.'
    return test


for _path in documents.paths():
    _name = '_'.join(_path.relative_to(
        documents.ROOT).with_suffix('').parts).replace('-', '_')
    setattr(DocumentTest, f'test_{_name}', _test_of(_path))
