"""docs/howto/install.rst: the least application, and what it says."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from gocept.async_.tests import documents
from gocept.async_.tests import interpreter


START = 'import zope.app.wsgi; zope.app.wsgi.getWSGIApplication("zope.conf")'


@unittest.skipUnless(documents.DOCS.exists(), 'installed without documents')
class DocumentTest(unittest.TestCase):

    # It starts processes: see CONTRIBUTING.rst.
    level = 2

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        document = documents.DOCS / 'howto' / 'install.rst'
        documents.write_files(document, self.folder)
        self.text = document.read_text('utf-8')

    def log_of_start(self):
        self.assertIn(START, self.text)
        done = subprocess.run(
            [sys.executable, '-c', START], cwd=self.folder,
            env=interpreter.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60)
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        return done.stdout

    def leave_out(self, package):
        path = pathlib.Path(self.folder) / 'site.zcml'
        line = f'<include package="{package}" />'
        text = path.read_text()
        self.assertIn(line, text)
        path.write_text(text.replace(line, ''))

    def test_start(self):
        """The service is created, and its processor started."""
        log = self.log_of_start()
        self.assertIn('async:service "events": created in /', log)
        self.assertIn('default.events: started', log)

    def test_without_the_root_folder(self):
        """The log says what to include."""
        self.leave_out('zope.app.appsetup')
        log = self.log_of_start()
        self.assertIn('ERROR gocept.async_.startup async:service "events": '
                      'none of its jobs is run, nor is it created', log)
        self.assertIn('<include package="zope.app.appsetup" />', log)
