"""The command async-jobs beside a running application, by its JSON.

Runs what docs/howto/lookafter.rst shows of --url.
"""

import contextlib
import errno
import http.server
import io
import itertools
import json
import os
import ssl
import sys
import tempfile
import threading
import unittest
import unittest.mock
import urllib.parse
from pathlib import Path

import transaction

from gocept.async_.manage import asking
from gocept.async_.manage import command
from gocept.async_.manage.remote import Remote
from gocept.async_.tests import test_manage
from gocept.async_.tests.pageslayer import PagesTestCase
from gocept.async_.worker.application import Refused
from lovely.remotetask.browser import bulkpage
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import IOperations
from lovely.remotetask.storage import adder
from lovely.remotetask.storage import lease


URL = 'http://localhost/@@async/'


class RemoteCase(PagesTestCase):
    """What the command sends is answered by the application of a test."""

    who = 'manager'

    def setUp(self):
        super().setUp()
        self.db = self.jobs_db
        self.sent = []
        self.enterContext(unittest.mock.patch.object(
            asking.Client, 'send', self.send))

    def send(self, request):
        """See asking.Client."""
        self.sent.append(request)
        self.login(self.who)
        path = urllib.parse.urlsplit(request.full_url)
        answer = self.app.request(
            f'{path.path}?{path.query}', method=request.get_method(),
            body=request.data or b'', headers=dict(request.header_items()),
            expect_errors=True)
        transaction.begin()
        return answer.status_int, answer.headers, answer.body

    def run_command(self, *args, code=0):
        """Run it.  Return what it writes."""
        transaction.commit()
        out, self.complaints = io.StringIO(), io.StringIO()
        with (contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(self.complaints),
              self.assertRaises(SystemExit) as caught):
            command.main(self.arguments(args))
        self.assertEqual(code, caught.exception.code, (
            out.getvalue(), self.complaints.getvalue()))
        transaction.begin()
        return out.getvalue()

    def arguments(self, args):
        found = ['--url', URL, *map(str, args)]
        needs_name = args and args[0] not in ('counts', 'explode')
        return [*found, '--service', 'events'] if needs_name else found

    json = test_manage.CommandCase.json
    failed = test_manage.CommandCase.failed


class SeeingTest(RemoteCase):
    """The same tests as with a zope.conf."""

    test_counts = test_manage.SeeingTest.test_counts
    test_list = test_manage.SeeingTest.test_list
    test_show = test_manage.SeeingTest.test_show
    test_crons_and_workers = test_manage.SeeingTest.test_crons_and_workers

    def test_unknown(self):
        for args in ('show', 42), ('cancel', 42):
            self.run_command(*args, code=1)
            self.assertIn('no job 42', self.complaints.getvalue())
        for args in ('pause', 42), ('resume', 'nightly'), ('run-now', 'x'):
            self.run_command(*args, code=1)
            self.assertIn('no cron job', self.complaints.getvalue())

    def test_same(self):
        """What is written is what it would be with a zope.conf."""
        jobid, = self.failed()
        cron = self.service.addCronJob('echo', minute=(5,))
        self.service.add('echo', {'a': [1, 2]})
        transaction.commit()
        here = test_manage.desk.Desk(self.db, 'zope.conf')
        there = Remote(asking.Client(URL, None))
        test_manage.configuration.declare(self, 'events', site='/')
        page = here.page('events', {}, None, 50)
        self.assertEqual(page.rows, there.page('events', {}, None, 50).rows)
        for each in jobid, cron:
            self.assertEqual(
                here.job('events', each), there.job('events', each))
        self.assertEqual(here.crons('events'), there.crons('events'))
        one, other = here.status('events'), there.status('events')
        for found in one, other:
            self.assertLess(found.pop('oldest_waiting_age'), 60)
        self.assertEqual(one, other)

    def test_nothing_is_written(self):
        """Whoever looks changes nothing; nor does a dry run."""
        jobid, = self.failed()
        cron = self.service.addCronJob('echo', minute=(5,))
        transaction.commit()
        before = self.db.lastTransaction()
        for args in (('counts',), ('list',), ('show', jobid), ('crons',),
                     ('workers',), ('requeue', jobid, '--dry-run'),
                     ('cancel', '--all', '--dry-run'),
                     ('remove', '--status', 'error', '--dry-run'),
                     ('pause', '--dry-run'), ('pause', cron, '--dry-run')):
            self.run_command(*args)
            self.assertEqual(before, self.db.lastTransaction(), args)
        self.assertEqual(
            {'GET'}, {request.get_method() for request in self.sent})

    def test_without_arguments(self):
        """Whoever may not see them is told nothing of them."""
        jobid, = self.failed()
        self.who = 'viewer'
        found = self.json('show', jobid)
        self.assertIsNone(found['arguments'])
        self.assertIsNone(found['traceback'])
        self.assertEqual('builtins.TypeError', found['error_class'])

    def test_address_at_the_end(self):
        """It may stand behind the command, too."""
        out = io.StringIO()
        with (contextlib.redirect_stdout(out),
              self.assertRaises(SystemExit) as caught):
            command.main(['counts', '--url', URL, '--json'])
        self.assertEqual(0, caught.exception.code)
        self.assertIn('events', json.loads(out.getvalue())['services'])

    def test_names(self):
        """Services may be called anything."""
        self.assertIn('Größe 10% m²', self.run_command('counts'))
        self.assertIn('Größe', self.run_command(
            'counts', '--service', 'Größe 10% m²'))


class ActingTest(RemoteCase):

    test_by_filter = test_manage.ActingTest.test_by_filter
    test_which = test_manage.ActingTest.test_which
    test_blank = test_manage.ActingTest.test_blank
    test_pause = test_manage.ActingTest.test_pause
    test_run_now = test_manage.ActingTest.test_run_now
    test_by_name = test_manage.ActingTest.test_by_name

    def done(self):
        return [(action.what, action.number)
                for action in IOperations(self.service).actions()]

    def test_by_id(self):
        """Each, in its order; it is remembered who did it."""
        first, second = self.failed(2)
        self.assertEqual('2 requeued\n',
                         self.run_command('requeue', first, second))
        for more in ('--dry-run',), ():
            self.assertRegex(
                self.run_command('cancel', second, second, *more),
                '^1 (would be )?cancelled\n$')
        self.run_command('requeue', first, code=1)
        self.assertIn('not of job', self.complaints.getvalue())
        self.assertEqual('1 cancelled\n', self.run_command('cancel', first))
        self.assertEqual({'done': 1, 'would_do': None, 'skipped': 1},
                         self.json('remove', first, 42, code=1))
        self.assertEqual('tests.manager', IOperations(
            self.service).actions()[0].who)

    def test_many(self):
        """Slice after slice, to those that were there when it began."""
        for _ in range(7):
            self.service.add('echo')
        with unittest.mock.patch(
                'lovely.remotetask.browser.bulkpage.SLICE', 3):
            self.assertEqual('7 cancelled\n', self.run_command(
                'cancel', '--task', 'echo'))
        posts = [request for request in self.sent
                 if request.get_method() == 'POST']
        self.assertEqual(3, len(posts))

    def test_removing_is_confirmed(self):
        """The command line says it clearly enough."""
        for _ in range(5):
            self.service.add('echo')
        with unittest.mock.patch(
                'lovely.remotetask.browser.bulkpage.TYPED', 1):
            self.assertEqual('5 removed\n', self.run_command(
                'remove', '--all'))

    def test_removing_while_others_are_added(self):
        """What the number was when it was asked for is what is confirmed."""
        for _ in range(5):
            self.service.add('echo')
        send = self.send

        def meanwhile(request):
            if request.get_method() == 'POST':
                self.service.add('echo')
                transaction.commit()
            return send(request)
        self.enterContext(unittest.mock.patch.object(
            asking.Client, 'send', lambda self, asked: meanwhile(asked)))
        with unittest.mock.patch(
                'lovely.remotetask.browser.bulkpage.TYPED', 1):
            self.assertEqual('5 removed\n', self.run_command(
                'remove', '--all'))
        self.assertEqual(1, len(self.service.jobs))

    def test_who_may_not(self):
        """What is refused by the application is refused here."""
        jobid, = self.failed()
        for who, what in (('viewer', 'requeue'), ('operator', 'remove'),
                          ('user', 'cancel'), ('anonymous', 'requeue')):
            self.who = who
            with self.subTest(who):
                self.run_command(what, jobid, code=3)
                text = self.complaints.getvalue()
                self.assertRegex(text, '40[13]')
                self.assertEqual(1, len(text.splitlines()))
        self.assertEqual([], self.done())

    def test_here_alone(self):
        """What needs the code is not asked for elsewhere."""
        for args in ('run', 1), ('check',), ('move',):
            self.run_command(*args, code=2)
            self.assertIn('zope.conf', self.complaints.getvalue())
        self.assertEqual([], self.sent)


class PagingTest(RemoteCase):
    """With many lanes in use, a page tells of many where it ends."""

    def setUp(self):
        super().setUp()
        numbers = itertools.cycle(range(lease.SPARE_LANES))
        with unittest.mock.patch.object(
                adder, 'lane_of_transaction',
                lambda store: store.lanes[next(numbers)]):
            for number in range(7 * lease.SPARE_LANES):
                self.service.add('echo', priority=number % 10)
        transaction.commit()

    def test_list(self):
        self.assertEqual(
            120, len(self.json('list', '--limit', '120')['jobs']))

    def test_bulk(self):
        with unittest.mock.patch.object(bulkpage, 'SLICE', 50):
            self.assertEqual(
                f'{7 * lease.SPARE_LANES} cancelled\n',
                self.run_command('cancel', '--status', 'queued'))

    def test_address(self):
        """That of the next page is one that any server takes."""
        after = self.ask('events/jobs.json').json['after']
        query = urllib.parse.urlencode({'after': after})
        self.assertLess(len(query), 2000)
        self.assertEqual(200, self.ask(f'events/jobs?{query}').status_int)


class AddressTest(unittest.TestCase):

    def test_good(self):
        for given, expected in (
                ('http://localhost:8080/@@async',
                 'http://localhost:8080/@@async/'),
                ('https://shop.example/a/++vh++x/@@async//',
                 'https://shop.example/a/++vh++x/@@async/'),
                ('http://[::1]:8080/größe/@@async/',
                 'http://[::1]:8080/gr%C3%B6%C3%9Fe/@@async/')):
            with self.subTest(given):
                self.assertEqual(expected, asking.check_address(given))

    def test_bad(self):
        """No message has the password in it."""
        for given in ('localhost:8080', 'ftp://host/', '/@@async', '',
                      'http://host:port/', 'http://[secret/', 'http:///x',
                      'http://me:secret@host/@@async/',
                      'http://secret@host/', 'http://host/?a=secret',
                      'http://me:secret@ho\u2100st/', 'file:///etc/passwd'):
            with self.subTest(given):
                complaints = io.StringIO()
                with (contextlib.redirect_stderr(complaints),
                      self.assertRaises(SystemExit) as caught):
                    command.main(['--url', given, 'counts'])
                self.assertEqual(2, caught.exception.code)
                self.assertNotIn('secret', complaints.getvalue())


class CredentialsTest(unittest.TestCase):

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / 'netrc'

    def credentials(self, **environment):
        return asking.credentials(URL, environment)

    def test_environment(self):
        found = self.credentials(ASYNC_JOBS_USER='me',
                                 ASYNC_JOBS_PASSWORD='a:b')
        self.assertEqual(asking._basic('me', 'a:b'), found)

    def test_netrc(self):
        """The file tells for which host; others are told nothing."""
        self.file.write_text('machine localhost login me password secret\n')
        self.file.chmod(0o600)
        self.assertEqual(asking._basic('me', 'secret'),
                         self.credentials(NETRC=str(self.file)))
        self.file.write_text('machine other login me password secret\n')
        self.assertIsNone(self.credentials(NETRC=str(self.file)))

    def test_bad_netrc(self):
        """It is said which file; and nothing of what is in it."""
        for content in 'secret', 'machine localhost login me secret x':
            self.file.write_text(content)
            with self.subTest(content), self.assertRaises(Refused) as caught:
                self.credentials(NETRC=str(self.file))
            self.assertIn(str(self.file), str(caught.exception))
            self.assertNotIn('secret', str(caught.exception))
        with self.assertRaises(Refused):
            self.credentials(NETRC=str(self.folder / 'missing'))

    def test_in_the_clear(self):
        """Whoever sends a password through a net without TLS is told so."""
        for address, told in ((URL, ''), ('https://shop.example/', ''),
                              ('http://shop.example/', 'in the clear')):
            complaints = io.StringIO()
            with (unittest.mock.patch.dict(os.environ, ASYNC_JOBS_USER='me'),
                  contextlib.redirect_stderr(complaints)):
                asking.opened(address)
            self.assertIn(told, complaints.getvalue())
            self.assertEqual(bool(told), bool(complaints.getvalue()))

    def test_own_file_for_all_to_read(self):
        """Whose permissions are too wide is said."""
        file = self.folder / '.netrc'
        file.write_text('machine localhost login me password secret\n')
        file.chmod(0o644)
        with (unittest.mock.patch.dict(os.environ, HOME=str(self.folder)),
              self.assertRaisesRegex(Refused, 'others may read it')):
            self.credentials()

    def test_nobody(self):
        with unittest.mock.patch.dict(os.environ, HOME=str(self.folder)):
            self.assertIsNone(self.credentials())


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers what the test wants; remembers what it was asked."""

    def do_GET(self):
        self.server.asked.append(dict(self.headers))
        code, head, body = self.server.answer
        self.send_response(code)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args):
        pass


class Full(io.RawIOBase):
    """A disk without room."""

    is_full = True

    def writable(self):
        return True

    def write(self, data):
        if self.is_full:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return len(data)


class HttpTest(unittest.TestCase):
    """Against a real server, which is not always ours."""

    def setUp(self):
        self.server = http.server.HTTPServer(('127.0.0.1', 0), Answering)
        self.server.asked = []
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.thread.join)
        self.addCleanup(self.server.shutdown)
        self.address = f'http://127.0.0.1:{self.server.server_port}/@@async/'

    def run_command(self, *args, code=3, url=None, **environment):
        out, err = io.StringIO(), io.StringIO()
        with (unittest.mock.patch.dict(os.environ, environment),
              contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
              self.assertRaises(SystemExit) as caught):
            command.main(['--url', url or self.address, *args])
        self.assertEqual(code, caught.exception.code, err.getvalue())
        return out.getvalue() + err.getvalue()

    def answer(self, code, content=b'', **head):
        body = content if type(content) is bytes else json.dumps(
            content).encode()
        self.server.answer = code, head, body

    def test_password(self):
        """It is sent, and shown nowhere."""
        self.answer(200, {'services': []})
        text = self.run_command(
            'counts', ASYNC_JOBS_USER='me', ASYNC_JOBS_PASSWORD='secret')
        self.assertEqual(asking._basic('me', 'secret'),
                         self.server.asked[0]['Authorization'])
        self.assertNotIn('secret', text)

    def test_redirect(self):
        """The password goes nowhere else."""
        for code in 301, 302, 303, 307, 308:
            self.answer(code, Location='http://127.0.0.1:1/steal\x1b')
            text = self.run_command(
                'counts', ASYNC_JOBS_USER='me', ASYNC_JOBS_PASSWORD='secret')
            self.assertIn('leads to http://127.0.0.1:1/steal', text)
            self.assertNotIn('\x1b', text)
        self.assertEqual(5, len(self.server.asked))

    def test_other_answers(self):
        """Whatever is answered is one line."""
        for answer in ((200, b'<html>'), (200, b'[]'), (200, b'\xff'),
                       (200, b'[' * 100_000), (500, b'oops'),
                       (200, {'services': 5}), (200, {}),
                       (200, {'services': [{}]}), (200, {'services': [5]}),
                       (200, {'services': [{'name': 'x'}]}),
                       (200, {'services': {}, 'counts': None}),
                       (404, {'detail': 'none\n\x1b[2J'}), (502, b''),
                       (503, {'detail': 'x' * 10_000}), (418, {}),
                       (401, {'detail': 'log in'}), (999, b'')):
            with self.subTest(str(answer)[:60]):
                self.answer(*answer)
                text = self.run_command('counts')
                self.assertEqual(1, len(text.splitlines()), text)
                self.assertLess(len(text), 1000)
                self.assertNotIn('\x1b', text)

    COUNTS = {'services': [{'name': 'Größe'}], 'counts': dict.fromkeys(
        STATUSES, 0), 'oldest_waiting': None, 'oldest_waiting_age': None,
        'paused': False}

    def write_to(self, stream, *args, code):
        """Run it with a standard output; return what it complains of."""
        complaints = io.StringIO()
        with (unittest.mock.patch.object(sys, 'stdout', stream),
              contextlib.redirect_stderr(complaints),
              self.assertRaises(SystemExit) as caught):
            command.main(['--url', self.address, 'counts', *args])
        self.assertEqual(code, caught.exception.code, complaints.getvalue())
        return complaints.getvalue()

    def test_output_is_full(self):
        """It says so in one line; that is no answer of the application."""
        self.answer(200, self.COUNTS)
        for buffered in True, False:
            for args in (), ('--json',):
                raw = Full()
                stream = io.TextIOWrapper(
                    io.BufferedWriter(raw) if buffered else raw,
                    encoding='utf-8', write_through=not buffered)
                text = self.write_to(stream, *args, code=3)
                self.assertEqual(1, len(text.splitlines()), text)
                self.assertIn('No space left', text)
                self.assertNotIn('version', text)
                raw.is_full = False
                stream.close()

    def test_output_is_closed(self):
        """Nobody wants it; the exit code is the answer."""
        self.answer(200, self.COUNTS)
        for args in (), ('--json',):
            self.assertEqual('', self.write_to(None, *args, code=0))

    def test_output_of_few_characters(self):
        """Those that a terminal does not have are told by their numbers."""
        self.answer(200, self.COUNTS)
        for encoding in 'ascii', 'cp437', 'iso8859-5':
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
            self.assertEqual('', self.write_to(stream, code=0))
            self.assertRegex(stream.buffer.getvalue().decode(encoding),
                             r'Gr(ö|\\xf6)(ß|\\xdf)e')

    def test_too_long(self):
        self.answer(200, b' ' * 2000)
        with unittest.mock.patch.object(asking, 'LONGEST', 1000):
            self.assertIn('too long', self.run_command('counts'))

    def test_nobody_answers(self):
        text = self.run_command('counts', url='http://127.0.0.1:1/')
        self.assertIn('does not answer', text)

    def test_certificates(self):
        """A server without a certificate that is trusted is not asked."""
        client = asking.Client('https://127.0.0.1/', None)
        context = next(
            handler._context for handler in client._opener.handlers
            if isinstance(handler, asking.urllib.request.HTTPSHandler))
        self.assertEqual(ssl.CERT_REQUIRED, context.verify_mode)
        self.assertTrue(context.check_hostname)
        text = self.run_command(
            'counts', url=self.address.replace('http:', 'https:'),
            ASYNC_JOBS_USER='me', ASYNC_JOBS_PASSWORD='secret')
        self.assertIn('does not answer', text)
        self.assertEqual([], self.server.asked)
