"""A document with a mistake fails, and says in which line."""

import sys

import zope.component

from gocept.async_.interfaces import IServiceDeclaration
from gocept.async_.tests.documents import Block
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.story import Story


class StoryTest(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        self.story = Story(self)

    def run_block(self, language, text, caption=''):
        self.story.run(Block(language, caption, text, 7, {}))

    def test_mistakes(self):
        """Whatever is wrong in a block is an error, with its line."""
        for language, text, caption in (
                ('python', 'no such name', ''),
                ('python', 'undefined', 'shop/mail.py'),
                ('python', 'import shop.nowhere', ''),
                ('doctest', '>>> 1 + 1\n3\n', ''),
                ('doctest', '>>> undefined\n', ''),
                ('xml', '<async:service nmae="x" />', ''),
                ('xml', '<async:service name="x" threads="none" />', ''),
                ('xml', '<async:service', ''),
                ('none', '<product-config', 'zope.conf'),
                ('none', 'anything at all', ''),
                ('console', '$ rm -r folder', ''),
                ('console', '$ async-jobs zope.conf counts\nnothing\n', ''),
                ):
            with (self.subTest(text),
                  self.assertRaises(Exception) as caught):
                self.run_block(language, text, caption)
            self.assertIn('line 7', caught.exception.__notes__[0])

    def test_nobody_runs_it(self):
        """A language that is not known needs a word on who runs it."""
        for language in ('literal', 'include', 'text', 'sql', ''):
            with (self.subTest(language),
                  self.assertRaisesRegex(AssertionError, 'Line 7: nobody')):
                self.run_block(language, 'x')

    def test_a_page(self):
        """Blocks go on where those before have ended."""
        self.run_block('python', 'limit = 3\n', 'shop/stock.py')
        self.run_block('python', 'double = 2 * limit\n', 'shop/stock.py')
        self.run_block('python', 'from shop.stock import double\n')
        self.run_block('doctest', '>>> more = double + 1\n>>> double\n6\n')
        self.run_block('python', 'assert more == 7')

    def test_is_forgotten(self):
        """Neither modules nor what ZCML has declared are left."""
        self.run_block('python', '', 'shop/stock.py')
        self.run_block('xml', '<async:service name="books" />')
        self.assertIn('shop.stock', sys.modules)
        self.doCleanups()
        self.assertNotIn('shop', sys.modules)
        self.assertNotIn('shop.stock', sys.modules)
        self.assertIsNone(zope.component.queryUtility(
            IServiceDeclaration, 'books'))
