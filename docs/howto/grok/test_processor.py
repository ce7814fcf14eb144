"""What the application does when it is started: a thread runs the jobs."""

import pathlib
import subprocess
import sys


HERE = pathlib.Path(__file__).parent

CODE = '''
import time

import webtest
import zope.app.wsgi
from grokcore.site.util import create_application

from lovely.remotetask.processor import stop_all
from lovely.remotetask.startup import openedDatabase
from notes.app import Notes


browser = webtest.TestApp(zope.app.wsgi.getWSGIApplication('zope.conf'))
with openedDatabase().transaction() as connection:
    root = connection.root()['Application']
    if 'notes' not in root:
        create_application(Notes, root, 'notes')
browser.get('/notes/add?text=to+be+or+not')
end = time.monotonic() + 20
while '1: 4' not in browser.get('/notes').text:
    assert time.monotonic() < end
stop_all()
'''


def test_a_thread_counts_the_words(tmp_path):
    for name in ('zope.conf', 'notes'):
        (tmp_path / name).symlink_to(HERE / name)
    done = subprocess.run(
        [sys.executable, '-c', CODE], cwd=tmp_path, capture_output=True,
        text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'async:service "notes": created in /' in done.stdout
    assert 'completed in' in done.stdout
