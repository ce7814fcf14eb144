"""Reading the documents, and what is generated for the reference."""

import importlib.util
import re
import tempfile
import textwrap
import unittest
from pathlib import Path

import zope.schema

from gocept.async_.celery.zcml import ICeleryDirective
from gocept.async_.tests import documents
from gocept.async_.tests import reader
from gocept.async_.zcml import IServiceDirective
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import ITaskService


TEXT = '''
Title
=====

A paragraph::

    a literal block

.. run by: test_other

.. code-block:: python
    :caption: shop/mail.py

    import shop

    shop.open()

1. In a list:

   .. browser: press Order

   .. code-block:: console

       $ async-jobs zope.conf counts

.. not run: it needs
   a mail server.

.. literalinclude:: /deployment/site.zcml
   :language: xml

>>> 1 + 1
2

.. invisible-code-block: python

    hidden = True

.. image:: way.svg
   :alt: a picture
'''


def written(test, text):
    """Return the path of a document with a text."""
    path = Path(test.enterContext(tempfile.TemporaryDirectory()), 'a.rst')
    path.write_text(text, 'utf-8')
    return path


class DocumentsTest(unittest.TestCase):

    def test_steps(self):
        """Blocks and what a reader does, in order, with what is said of them.
        """
        found = documents.steps(written(self, TEXT))
        self.assertEqual([
            ('literal', '', 'a literal block\n', 7, {}),
            ('python', 'shop/mail.py', 'import shop\n\nshop.open()\n', 14,
             {'run by': 'test_other'}),
            ('browser', 'press Order'),
            ('console', '', '$ async-jobs zope.conf counts\n', 24, {}),
            ('include', '', '/deployment/site.zcml', 29,
             {'not run': 'it needs a mail server.'}),
            ('doctest', '', '>>> 1 + 1\n2\n', 32, {}),
            ('python', '', 'hidden = True\n', 37, {'invisible': ''}),
        ], [tuple(each) for each in found])

    def test_a_reason_is_of_the_next_block_alone(self):
        path = written(self, (
            '.. not run: it takes a minute.\n\nBut this is run:\n\n'
            '.. code-block:: python\n\n    1 / 0\n'))
        block, = documents.blocks(path)
        self.assertEqual({}, block.notes)

    def test_all_kinds(self):
        """Whatever shows code is a block; what shows a picture is none."""
        for directive in ('code:: python', 'sourcecode:: python', 'prompt::',
                          'parsed-literal::', 'testcode::', 'code-block:: c'):
            with self.subTest(directive):
                path = written(self, f'.. {directive}\n\n    1 / 0\n')
                block, = documents.blocks(path)
                self.assertEqual('1 / 0\n', block.text)
        self.assertEqual([], documents.blocks(written(
            self, '.. image:: a.svg\n   :alt: a\n\n.. _here:\n\nText::\n')))

    def test_of_all_blocks(self):
        """What is said of all blocks is told apart."""
        path = written(self, '.. all run by: test_tutorial\n\n>>> 1\n1\n')
        self.assertEqual(
            {'run by': 'test_tutorial'}, documents.whole(path))
        path = written(self, '.. all not run: a list of commands.\n')
        self.assertEqual(
            {'not run': 'a list of commands.'}, documents.whole(path))

    def test_wrapping_tables(self):
        """Only code may stand in the first column of a simple table."""
        table = textwrap.dedent('''
            =====  ====
            name   what
            =====  ====
            {}     it
            =====  ====
            ''')
        for cell, found in ('``x``', []), ('a bird', ['a bird']), ('', []):
            text = table.replace('=====', '=' * 6).format(cell.ljust(3))
            with self.subTest(cell):
                self.assertEqual(
                    found, documents.wrapping_tables(written(self, text)))

    def test_matches(self):
        """Three dots are any text, the width of columns does not matter."""
        for expected, printed, matches in (
                ('a  b\n', 'a    b', True), ('a ... c', 'a b c', True),
                ('a', 'a b', False), ('a...', 'a b', True),
                ('a.c', 'abc', False), ('', '', True)):
            with self.subTest(expected):
                self.assertEqual(
                    matches, bool(reader.matches(expected, printed)))


    def test_harmless(self):
        """Commands that install something are not run by mistake."""
        for command in ('pip install x', 'python -m pip uninstall x',
                        'python3 -m venv venv', 'rm -r /'):
            with self.subTest(command), self.assertRaises(AssertionError):
                reader.check_harmless(command)
        reader.check_harmless('rm -f Data.fs.index')


SCRIPT = documents.DOCS / 'generated.py'


@unittest.skipUnless(SCRIPT.exists(), 'installed without the documents')
class GeneratedTest(unittest.TestCase):
    """The reference tells what the code has."""

    def setUp(self):
        spec = importlib.util.spec_from_file_location('_generated', SCRIPT)
        self.generated = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.generated)

    def test_zcml(self):
        """Each attribute with its sentence and its default."""
        text = self.generated.zcml()
        for schema in IServiceDirective, ICeleryDirective:
            for name, field in zope.schema.getFields(schema).items():
                with self.subTest(name):
                    self.assertIn(
                        f'``{name}``\n    {field.description.split()[0]}',
                        text)
        self.assertIn('Default: ``604800`` (7 days).', text)
        self.assertIn('Default: ``false``.', text.replace('true', 'false'))

    def test_each_attribute_says_what_it_means(self):
        """By whole sentences."""
        for schema in IServiceDirective, ICeleryDirective:
            for name, field in zope.schema.getFields(schema).items():
                with self.subTest(name):
                    self.assertRegex(field.description, r'\A[A-Z].* .*\.\Z')

    def test_statuses(self):
        """Each with the sentence of the place where it is defined."""
        text = self.generated.statuses()
        self.assertEqual(
            list(STATUSES), re.findall('^``(.+?)``$', text, re.MULTILINE))
        self.assertIn('Somebody has cancelled the job', text)

    def test_commands(self):
        """Each command that is installed is in the reference."""
        setup = (documents.ROOT / 'setup.py').read_text(encoding='utf-8')
        installed = re.findall(r"^ +'(async-\w+) = ", setup, re.MULTILINE)
        self.assertEqual(
            sorted(installed), sorted(self.generated.COMMANDS))
        page = documents.DOCS / 'reference' / 'commands.rst'
        self.assertEqual(
            sorted(installed), sorted(re.findall(
                r'^\.\. command:: (.+)$', page.read_text(), re.MULTILINE)))
        self.assertIn('--grace SECONDS',
                      self.generated.command('async-worker'))
        self.assertIn('usage: async-jobs ZOPE.CONF requeue',
                      self.generated.command('async-jobs'))

    def test_interface(self):
        """Each method with its signature."""
        text = self.generated.interface(
            'lovely.remotetask.interfaces.ITaskService')
        for name in ITaskService.names():
            with self.subTest(name):
                self.assertRegex(
                    text, rf':: {name}\b|:: {name}\(')
        self.assertIn('.. py:method:: cancel(jobid)', text)

    def test_docstrings(self):
        """Parameters become a list; what is no markup stays text."""
        self.assertEqual(
            'Add *one*.\n\n``a, b``\n    numbers ``x`` \\*\n\n'
            '::\n\n    code(1)'.replace('*one*', '\\*one\\*'),
            self.generated.rst(
                'Add *one*.\n\na, b -- numbers\n    `x` *\n\n    code(1)'))
