"""A reader of a document: has terminals and a browser, and does as told."""

import contextlib
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import webtest

from gocept.async_.tests.celerystage import kill_group
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import Process
from gocept.async_.tests.workerstage import until


# Seconds until a reader does not wait any more.
SOON = 30

# These commands go on until somebody stops them.
STAYING = 'python serve.py', 'async-worker ', 'runzeo '


def programs():
    """Return the folder with python, async-worker and so on."""
    # Those of another environment, if .ci/run says so.
    return os.environ.get('EXAMPLES_BIN', str(Path(sys.executable).parent))


def commands(text):
    """Return pairs of a console's block: a command, what it prints."""
    found = []
    for line in text.splitlines():
        if line.startswith('$ '):
            found.append([line[2:], ''])
        else:
            found[-1][1] += f'{line}\n'
    return found


def matches(expected, printed):
    """Return whether a text is what a document shows.

    There, three dots are any text; the width of a column does not matter.
    """
    parts = re.split(r' ?\.\.\. ?', ' '.join(expected.split()))
    return re.fullmatch(
        '.*'.join(map(re.escape, parts)), ' '.join(printed.split()))


def check(expected, printed, what):
    """Raise AssertionError unless that was printed."""
    if not matches(expected, printed):
        raise AssertionError(
            f'{what}\nExpected:\n{expected}\nGot:\n{printed}')


def check_harmless(command):
    """Raise AssertionError if a command changes more than its own folder.

    It stands in a document, and nobody has said there that it is not run.
    """
    words = shlex.split(command)
    if 'pip' in words or 'venv' in words or '/' in words:
        raise AssertionError(f'The tests do not run {command!r}.')


class Terminal:
    """Types commands, and reads what they print.

    replacements -- dict: texts that are others here: the ports, for those of
        the document may be in use.
    """

    def __init__(self, stack, folder, replacements):
        self._stack = stack
        self._folder = Path(folder)
        self._replacements = replacements
        self._variables = {
            **os.environ,
            'PATH': os.pathsep.join([programs(), os.environ['PATH']])}
        self._staying = {}

    def here(self, text):
        """Return a text as it is to be on this machine."""
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

    def write(self, name, text):
        """Write a file."""
        (self._folder / name).write_text(self.here(text), 'utf-8')

    def type(self, command, expected):
        """Type a command; it prints what is expected."""
        words = shlex.split(command)
        if words[0] == 'cd':
            self._change(words[1])
        elif words[0] == 'export':
            self._variables.update(word.split('=', 1) for word in words[1:])
        elif command.startswith(STAYING):
            self._start(command, self.here(expected))
        elif command != '. venv/bin/activate':
            self._finish(command, self.here(expected))

    def _change(self, name):
        # A new terminal begins outside; here it is the same one.
        if self._folder.name != name:
            self._folder /= name
        if not self._folder.is_dir():
            raise AssertionError(f'There is no folder {self._folder}.')

    def _finish(self, command, expected):
        check_harmless(command)
        done = subprocess.run(
            self.here(command), shell=True, cwd=self._folder, text=True,
            env=self._variables, capture_output=True, timeout=PATIENCE)
        if done.returncode:
            raise AssertionError(f'{command}: {done.stderr}')
        check(expected, done.stdout, command)

    def _start(self, command, expected):
        process = Process(
            self._stack, *shlex.split(self.here(command)), cwd=self._folder,
            stdout=subprocess.DEVNULL, variables=self._variables,
            start_new_session=True)
        self._stack.callback(kill_group, process)
        self._staying[command] = process
        self._await(command, f'{expected}...')

    def _await(self, command, expected):
        """Wait until a command that stays has printed something."""
        process = self._staying[command]
        # The comparison below tells what is missing.
        with contextlib.suppress(AssertionError):
            until(lambda: matches(expected, process.complaints)
                  or process.process.poll() is not None, command, SOON)
        check(expected, process.complaints, command)

    def read(self, expected):
        """Read something that one of those has printed, sooner or later."""
        until(lambda: any(
            matches(f'...{expected}...', process.complaints)
            for process in self._staying.values()), expected, SOON)

    def stop(self, command):
        """Press Ctrl-C; once more, as people do, if nothing happens.

        A KeyboardInterrupt that is raised in a callback of Python's own is
        lost: that is none of ours.
        """
        process = self._staying.pop(command)
        for patience in SOON, SOON, PATIENCE:
            process.signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return
        raise AssertionError(
            f'{command}: does not end; it said {process.complaints}')


class Browser:
    """Opens pages of a server, and uses their forms and links."""

    def __init__(self, port, login):
        self._app = webtest.TestApp(_forwarding(port))
        self._app.authorization = 'Basic', (login, login)
        self._typed = {}

    def do(self, text):
        """Do something like "press Order"."""
        verb, _, rest = text.partition(' ')
        getattr(self, f'_{verb}')(rest)

    def _open(self, path):
        self._page = self._app.get(path)

    def _type(self, text):
        name, _, value = text.partition(' = ')
        self._typed[name] = value

    def _press(self, button):
        form, = [form for form in set(self._page.forms.values())
                 if f'>{button}</button>' in form.text]
        for name, value in self._typed.items():
            form[name] = value
        self._typed.clear()
        self._page = form.submit().maybe_follow()

    def _follow(self, link):
        self._page = self._page.click(link, index=0).maybe_follow()

    def _see(self, text):
        until(lambda: text in self._reload().html.get_text(' ', strip=True),
              text, SOON)

    def _reload(self):
        self._page = self._app.get(self._page.request.path_qs)
        return self._page


# Of one connection only.
HOP_BY_HOP = 'connection', 'transfer-encoding', 'keep-alive'


def _forwarding(port):
    """Return a WSGI application that asks a server of this machine."""
    def application(environ, start_response):
        headers = {
            key[5:].replace('_', '-'): value
            for key, value in environ.items() if key.startswith('HTTP_')}
        if environ.get('CONTENT_TYPE'):
            headers['Content-Type'] = environ['CONTENT_TYPE']
        # Redirects lead to the server itself.
        headers['HOST'] = f'127.0.0.1:{port}'
        query = environ.get('QUERY_STRING')
        connection = http.client.HTTPConnection(
            '127.0.0.1', port, timeout=PATIENCE)
        connection.request(
            environ['REQUEST_METHOD'],
            environ['PATH_INFO'] + (f'?{query}' if query else ''),
            environ['wsgi.input'].read(), headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        start_response(f'{answer.status} {answer.reason}', [
            (name, value) for name, value in answer.getheaders()
            if name.lower() not in HOP_BY_HOP])
        return [body]
    return application
