"""What the application does when it is started: a thread runs the jobs."""

import pathlib
import subprocess
import sys


HERE = pathlib.Path(__file__).parent

CODE = '''
import time

import webtest
import zope.app.wsgi

from lovely.remotetask.processor import stop_all


browser = webtest.TestApp(zope.app.wsgi.getWSGIApplication('zope.conf'))
browser.get('/notes/add?text=to+be+or+not')
end = time.monotonic() + 20
while '1: 4' not in browser.get('/notes').text:
    assert time.monotonic() < end
stop_all()
'''


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True,
        text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_thread_counts_the_words(tmp_path):
    for name in ('zope.conf', 'notes', 'create.py'):
        (tmp_path / name).symlink_to(HERE / name)
    assert 'async:service "notes": created in /' in run(tmp_path, 'create.py')
    assert 'completed in' in run(tmp_path, '-c', CODE)
