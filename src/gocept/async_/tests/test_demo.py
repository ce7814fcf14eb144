"""The demo is tested as it is used: real processes, real HTTP."""

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from importlib import resources
from pathlib import Path

from gocept.async_.demo import application
from gocept.async_.demo.application import write_configuration
from gocept.async_.demo.check import Client
from gocept.async_.demo.check import Server
from gocept.async_.demo.check import environment
from gocept.async_.demo.formtoken import FormTokens


# By limit.  The first takes half a second while another is computed.
SUMS = {500_000: 9_914_236_195, 30_000: 45_675_864}


def run(*args, code='from gocept.async_.demo.run import main; main()'):
    """Run async-demo to its end.  Return the CompletedProcess."""
    return subprocess.run(
        [sys.executable, '-c', code, *args], env=environment(),
        capture_output=True, text=True, timeout=60)


def post(client, path, **fields):
    """Send a form with the client's own token.  Return the status."""
    return client.post(path, token=client.token(), **fields).status


class DemoLayer:
    """A layer of its own: `bin/test` runs it beside others."""


class TestCase(unittest.TestCase):

    layer = DemoLayer

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        # A name that is awkward in a zope.conf.
        self.var = Path(folder, 'data of $one')

    def start(self):
        """Start a server on our folder."""
        complaints = self.enterContext(tempfile.TemporaryFile('w+'))
        server = Server(self.var, stderr=complaints)
        self.addCleanup(server.kill)
        server.complaints = complaints
        return server

    def stop(self, server, number):
        """Stop it; it has nothing to complain about."""
        try:
            server.stop(number)
        finally:
            server.complaints.seek(0)
            complaints = server.complaints.read()
            if complaints:
                print(complaints, file=sys.stderr)
        self.assertEqual('', complaints)

    def assert_refused(self, ran, sentence):
        self.assertEqual((1, ''), (ran.returncode, ran.stdout))
        self.assertRegex(ran.stderr, rf'\Aasync-demo: .*{sentence}.*\.\n\Z')


class CommandTests(TestCase):

    def test_check_prints_the_result(self):
        """``--check`` uses the demo over HTTP and prints what came out."""
        ran = run('--check')
        self.assertEqual((0, ''), (ran.returncode, ran.stderr))
        self.assertEqual(
            'The sum of the primes below 100,000 is 454,396,537, computed '
            'as demo.alice.\n', ran.stdout)

    def test_busy_port(self):
        """A port in use is one sentence, before any data is touched."""
        with socket.create_server(('127.0.0.1', 0)) as busy:
            port = busy.getsockname()[1]
            ran = run('--port', str(port), '--var', str(self.var))
        self.assert_refused(ran, f'port {port}: .*in use; .*--port')
        self.assertFalse(self.var.exists())

    def test_impossible_port(self):
        """A port that cannot exist is one sentence too."""
        self.assert_refused(run('--port', '70000'), 'port 70000: .*--port')

    def test_impossible_host(self):
        """So is a host that cannot exist."""
        ran = run('--host', '.ö')
        self.assertEqual((2, ''), (ran.returncode, ran.stdout))
        self.assertIn("--host: invalid host value: '.ö'", ran.stderr)

    def test_database_in_use(self):
        """Two demos cannot share a folder; the second one says so."""
        server = self.start()
        ran = run('--port', '0', '--var', str(self.var))
        self.assert_refused(ran, 'in use by another process; .*--var')
        self.assertEqual(200, Client(server.url, 'bob').get('').status)

    def test_folder_is_a_file(self):
        """A folder that cannot be made is one sentence."""
        self.var.write_text('')
        ran = run('--port', '0', '--var', str(self.var))
        self.assert_refused(ran, 'cannot use the folder .*--var')

    def test_without_waitress(self):
        """Without the extra the command says what to install."""
        ran = run(code='import sys; sys.modules["waitress"] = None; '
                       'from gocept.async_.demo.run import main; main()')
        self.assert_refused(ran, r'pip install "gocept\.async\[demo\]"')


class RestartTests(TestCase):

    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def test_jobs_survive_a_kill(self):
        """What was queued or running is run after a restart, once."""
        server = self.start()
        alice = Client(server.url, 'alice')
        alice.start(10)
        [old] = alice.wait_until_ended()
        token = alice.token()
        # The demo has two threads: most have to wait.
        limits = [500_000, 500_000, 30_000, 30_000, 30_000]
        for limit in limits:
            alice.post('start', limit=limit, token=token)
        states = [found['state'] for found in alice.computations()]
        # The two long ones take seconds, all requests together less.
        self.assertEqual(['processing', 'processing'], states[-3:-1])
        server.kill()

        *found, kept = Client(self.start().url, 'bob').wait_until_ended()
        self.assertEqual(
            [('completed', SUMS[limit], 'demo.alice', 1)
             for limit in reversed(limits)],
            [(each['state'], each['result'], each['principal'], each['runs'])
             for each in found])
        self.assertEqual(old, kept)

    def test_sigterm(self):
        """SIGTERM ends it well: exit code 0, nothing to complain about."""
        server = self.start()
        self.stop(server, signal.SIGTERM)

    def test_sigint_while_computing(self):
        """Ctrl-C does not wait long for a job; it is run another time."""
        server = self.start()
        Client(server.url, 'alice').start(5_000_000)
        self.stop(server, signal.SIGINT)
        [found] = Client(self.start().url, 'alice').computations()
        self.assertIn(found['state'], ('queued', 'processing'))


class PageTests(TestCase):

    def setUp(self):
        super().setUp()
        self.url = self.start().url
        self.alice = Client(self.url, 'alice')

    def test_closed_by_default(self):
        """Nobody sees or changes anything without logging in."""
        nobody = Client(self.url)
        for path in ('', 'index.html', 'computations.json', 'start',
                     'forget'):
            with self.subTest(path=path):
                self.assertEqual(401, nobody.get(path).status)
                self.assertEqual(401, nobody.post(path).status)
        self.assertEqual(404, self.alice.get('nothing').status)
        self.assertEqual(404, self.alice.get('computations').status)

    def test_logins_are_told(self):
        """Who may not see something is told who may."""
        for answer in (Client(self.url).get(''), self.alice.post('forget')):
            self.assertIn('alice/alice', answer.text)

    def test_jobs(self):
        """There is one job of each kind to look at, from the beginning."""
        self.assertIn('href="@@async/"', self.alice.get('').text)
        self.alice.start(1)
        self.alice.wait_until_ended()
        answer = self.alice.get('@@async/events/service.json')
        counts = json.loads(answer.text)['counts']
        self.assertEqual((2, 1, 1), tuple(
            counts[name] for name in ('error', 'held', 'cronjob')))
        # Nobody but the manager may act.
        self.assertEqual([], json.loads(answer.text)['actions'])
        self.check_command()
        self.assertIn('async_workers{service="events"} 1.0',
                      self.alice.get('@@async/+metrics').text)

    def check_command(self):
        """Beside the server, which has its FileStorage open."""
        ran = subprocess.run(
            [sys.executable, '-m', 'gocept.async_.manage.command', '--url',
             f'{self.url}/@@async/', 'counts', '--json'],
            env={**environment(), 'ASYNC_JOBS_USER': 'alice',
                 'ASYNC_JOBS_PASSWORD': 'alice'},
            capture_output=True, text=True, timeout=60)
        self.assertEqual((0, ''), (ran.returncode, ran.stderr))
        found = json.loads(ran.stdout)['services']['events']
        self.assertEqual(2, found['counts']['error'])

    def test_only_our_own_forms(self):
        """A form is accepted with the token of its user, and as a POST."""
        token = self.alice.token()
        self.assertEqual(403, self.alice.post('start', limit=9).status)
        self.assertEqual(403, self.alice.post(
            'start', limit=9, token='tök').status)
        self.assertEqual(403, Client(self.url, 'bob').post(
            'start', limit=9, token=token).status)
        self.assertEqual(405, self.alice.get(
            f'start?limit=9&token={token}').status)
        self.assertEqual([], self.alice.computations())

    def test_limit(self):
        """What is no possible limit is refused with a sentence."""
        for limit in ('', 'x', '0', '-3', '1.5', 5_000_001, '9' * 5000):
            with self.subTest(limit=limit):
                self.assertEqual(
                    400, post(self.alice, 'start', limit=limit))
        self.assertEqual([], self.alice.computations())

    def test_result_on_the_page(self):
        """The page shows results, errors, and as whom a job was run."""
        self.alice.start(10)
        self.alice.wait_until_ended()
        Client(self.url, 'bob').start(1)
        failed, completed = self.alice.wait_until_ended()
        self.assertEqual(
            ('error', 'There is no prime below 1.', None),
            (failed['state'], failed['error'], failed['principal']))
        self.assertEqual(
            ('completed', 17, 'demo.alice'),
            (completed['state'], completed['result'], completed['principal']))
        # Also after the end, and for those that failed.
        for found in (failed, completed):
            self.assertRegex(
                found['processor'], r':\d+:remotetasks\..*\.events\Z')
        cells = re.findall('<td[^>]*>([^<]*)</td>', self.alice.get('').text)
        self.assertEqual(failed['cells'] + completed['cells'], cells)

    def test_only_the_newest(self):
        """The page does not grow."""
        for limit in range(3, 25):
            self.alice.start(limit)
        limits = [found['limit'] for found in self.alice.wait_until_ended()]
        self.assertEqual(list(range(24, 4, -1)), limits)

    def test_forget(self):
        """A manager, and nobody else, removes what has ended."""
        manager = Client(self.url, 'manager')
        self.alice.start(10)
        self.alice.wait_until_ended()
        self.assertEqual(403, post(self.alice, 'forget'))
        self.assertNotIn('action="forget"', self.alice.get('').text)
        self.assertIn('action="forget"', manager.get('').text)
        self.assertEqual(200, post(manager, 'forget'))
        self.assertEqual([], manager.computations())


class FormTokenTests(unittest.TestCase):

    def test_accepts(self):
        """A token holds for one principal and one database."""
        tokens = FormTokens()
        token = tokens.make('demo.alice')
        self.assertTrue(tokens.accepts('demo.alice', token))
        self.assertFalse(tokens.accepts('demo.bob', token))
        self.assertFalse(FormTokens().accepts('demo.alice', token))
        for wrong in (None, '', [token], 'ü', token[:-1]):
            self.assertFalse(tokens.accepts('demo.alice', wrong))


class ConfigurationTests(TestCase):

    def test_what_is_cut_off_has_little_of_the_interpreter(self):
        """Else the end of the process waits 5 ms for it, again and again."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        with unittest.mock.patch.multiple(
                application, getWSGIApplication=unittest.mock.Mock(),
                openedDatabase=lambda: None):
            with application.opened(self.var):
                self.assertEqual(0.005, sys.getswitchinterval())
            # It is kept in whole microseconds.
            self.assertAlmostEqual(
                application.SHARE, sys.getswitchinterval(), 6)

    def test_paths_are_absolute(self):
        """The configuration names files wherever it is read from."""
        text = write_configuration(self.var).read_text('utf-8')
        site = resources.files('gocept.async_.demo').joinpath('site.zcml')
        self.assertIn(f'site-definition {site}\n', text)
        self.assertIn(f'path {self.var}/demo.fs\n'.replace('$', '$$'), text)

    def test_application_in_the_same_folder(self):
        """Started where somebody's application is, it leaves that alone."""
        self.var.mkdir()
        theirs = self.var / 'zope.conf'
        theirs.write_text('theirs')
        text = write_configuration(self.var).read_text('utf-8')
        self.assertEqual('theirs', theirs.read_text())
        self.assertNotIn('Data.fs', text)
        self.assertNotIn('event.log', text)


if __name__ == '__main__':
    unittest.main()
