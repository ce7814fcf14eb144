"""All documents: each block of code is run, or says why not."""

import unittest
from pathlib import Path

import gocept.async_
from gocept.async_.tests import documents
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.story import Story


SOURCE = Path(gocept.async_.__file__).parents[2]


def test_modules():
    """Return the names of all modules with tests."""
    return {path.stem for path in SOURCE.rglob('test_*.py')}


@unittest.skipUnless(
    documents.DOCS.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class DocumentTest(FunctionalTestCase):
    """A test for each document, see the end of this module."""

    def run_document(self, path):
        story = Story(self)
        notes = documents.whole(path)
        for block in documents.blocks(path):
            if not self.is_excused({**notes, **block.notes}):
                story.run(block)

    def is_excused(self, notes):
        """Return whether something else is said of a block, and makes sense.
        """
        if 'run by' in notes:
            self.assertIn(notes['run by'], test_modules())
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
