"""A document whose code is run in the small application of the tests.

Blocks are run in their order.  Python with a caption is the module of that
name; without one it goes on in the names of the page, like doctests do.  ZCML
is read, and the directives of this package are executed.
"""

import contextlib
import doctest
import io
import sys
import tempfile
import types
import unittest.mock
from pathlib import Path

import transaction

from gocept.async_ import zopeconf
from gocept.async_.manage import command
from gocept.async_.manage import desk
from gocept.async_.tests import configuration
from gocept.async_.tests import reader


ZCML = '''
<configure
    xmlns="http://namespaces.zope.org/zope"
    xmlns:browser="http://namespaces.zope.org/browser"
    xmlns:mail="http://namespaces.zope.org/mail">
  <include package="zope.security" file="meta.zcml" />
  <include package="zope.securitypolicy" file="meta.zcml" />
  <include package="zope.publisher" file="meta.zcml" />
  <include package="zope.browserpage" file="meta.zcml" />
'''

READ_ONLY = '<browser:', '<grant', '<async:pages'

# What a part of a zope.conf lacks to be one.
CONF = {
    'site-definition': 'site-definition site.zcml\n',
    '<zodb>': '<zodb>\n  <mappingstorage/>\n</zodb>\n',
    '<eventlog>': '<eventlog>\n</eventlog>\n'}

ADVICE = ('say before it ".. not run: WHY", or ".. run by: test_MODULE"; see '
          'gocept.async_.tests.documents')


class Story:
    """Runs the blocks of a document.

    test -- a FunctionalTestCase; what is left is forgotten when it ends.
    """

    def __init__(self, test):
        self._test = test
        self._names = {
            '__name__': 'story', 'root': test.root, 'service': test.service}
        self._modules = {}
        test.addCleanup(self._forget_modules)

    def run(self, block):
        """Run a block; raise if it is wrong, or is nothing to run."""
        run = getattr(self, f'_run_{block.language}', None)
        if run is None:
            raise AssertionError(
                f'Line {block.line}: nobody runs this block; {ADVICE}.')
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                run(block)
        except Exception as error:
            error.add_note(f'In the block of line {block.line}.')
            raise

    def _run_python(self, block):
        code = compile('\n' * (block.line - 1) + block.text,
                       block.caption or 'document', 'exec')
        exec(code, vars(self._module(block.caption)) if block.caption
             else self._names)

    def _module(self, caption):
        """Return the module that a file is."""
        package, name = None, ''
        for part in caption.removesuffix('.py').split('/'):
            name = f'{name}.{part}'.lstrip('.')
            if name not in self._modules:
                made = types.ModuleType(name)
                made.__path__ = []
                self._modules[name] = sys.modules[name] = made
            if package is not None:
                setattr(package, part, self._modules[name])
            package = self._modules[name]
        return package

    def _forget_modules(self):
        for name in self._modules:
            sys.modules.pop(name, None)

    def _run_doctest(self, block):
        test = doctest.DocTestParser().get_doctest(
            block.text, self._names, 'document', None, block.line - 1)
        printed = io.StringIO()
        doctest.DocTestRunner(
            verbose=False, optionflags=doctest.ELLIPSIS).run(
            test, out=printed.write, clear_globs=False)
        self._names.update(test.globs)
        self._test.assertFalse(printed.getvalue(), printed.getvalue())

    def _run_xml(self, block):
        directives = f'{ZCML}{block.text}</configure>'
        # The others need an application of their own, or stay when the test
        # has ended: they are read only.
        if any(tag in block.text for tag in READ_ONLY):
            configuration.read(directives)
        else:
            configuration.execute(self._test, directives)

    def _run_none(self, block):
        """Read a zope.conf, or a part of one."""
        self._test.assertTrue(block.caption.endswith('.conf'), ADVICE)
        missing = ''.join(text for key, text in CONF.items()
                          if key not in block.text)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'zope.conf')
            path.write_text(missing + block.text, 'utf-8')
            zopeconf.read(str(path))

    def _run_console(self, block):
        for line, expected in reader.commands(block.text):
            program, *args = line.split()
            self._test.assertEqual('async-jobs', program, ADVICE)
            reader.check(expected, self._async_jobs(args), line)

    def _async_jobs(self, args):
        """Run the command on the service of the test, in this process."""
        transaction.commit()
        configuration.declare(self._test, 'events')
        out = io.StringIO()
        with (unittest.mock.patch.object(desk, 'opened', self._opened),
              contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(io.StringIO()),
              contextlib.suppress(SystemExit)):
            command.main(args)
        transaction.begin()
        return out.getvalue()

    @contextlib.contextmanager
    def _opened(self, path):
        yield desk.Desk(self._test.jobs_db, path)
