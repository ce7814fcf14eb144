"""No message, representation or log shows what is secret of a broker."""

import logging
import tempfile
import unittest
from pathlib import Path

from gocept.async_ import zopeconf
from gocept.async_.celery.secret import MASK
from gocept.async_.celery.secret import HidingFormatter
from gocept.async_.celery.secret import Screen
from gocept.async_.celery.secret import check_url
from gocept.async_.celery.secret import masked_url
from gocept.async_.celery.secret import secrets_of_options
from gocept.async_.celery.secret import secrets_of_url


# Where a URL cannot be taken apart at one place only, or means something else
# than who wrote it meant.
WRONG = (
    's3cret@host', 's3cret', ':s3cret@host:6379/0', 'redis:s3cret@host',
    'redis//:s3cret@host', '://:s3cret@host', 'redis://s3cret@host',
    'redis://s3cret:@host', 'redis://:s3cret/@host', 'redis://:/s3cret@host',
    'redis://:s3c/ret@host/0', 'redis://:s3c#ret@host/0',
    'redis://:s3c?ret@host/0', 'redis://:s3c;ret@host/0',
    'redis://:s3c\nret@host/0', 'redis://:s3c\0ret@host/0',
    'redis://:s3cret@host:port/0', 'redis://:s3cret@host:65536/0',
    'redis://:s3cret@host:-1/0', 'redis://:s3cret@ho st/0',
    'redis://host:s3cret/0', 'redis://:s3cret@[::1/0',
    'redis://:s3cret@::1/0', 'redis://host/0/s3cret@', 'r edis://:s3cret@host',
    'redis://:s3cret@host/0;:s3cret@other', 'redis://h/0#s3cret',
    'amqp://user:good@host//;amqp://:s3c/ret@host//')

RIGHT = {
    'redis://host:6379/0': [],
    'redis://:s3cret@host:6379/0': ['s3cret'],
    'redis://:s3c@ret@host/0': ['s3c@ret'],
    'redis://:s3c:ret@host/0': ['s3c:ret'],
    'redis://:s3c ret@host/0': ['s3c ret'],
    'redis://:s3c%2Fret@host/0': ['s3c%2Fret'],
    'redis://:säcret@host/0': ['säcret'],
    'redis://user:s3cret@[::1]:6379/0': ['s3cret'],
    'rediss://:s3cret@host/0?ssl_cert_reqs=required': ['s3cret'],
    'redis://host/0?password=s3cret&client_name=x': ['s3cret', 'x'],
    'redis+socket:///tmp/redis.sock?password=123': ['123'],
    'amqp://user:one@host//;amqp://user:two@other//': ['one', 'two'],
    'sentinel://:s3cret@a:26379;sentinel://b:26379': ['s3cret'],
    'mongodb://user:s3cret@a:1,b:2/db': ['s3cret'],
    'memory://': [], 'sqla+sqlite:///x.db': []}


class UrlTest(unittest.TestCase):

    def test_wrong(self):
        """It is refused, whatever else reads it, and nothing of it is shown.
        """
        for url in WRONG:
            with self.subTest(url), self.assertRaisesRegex(
                    ValueError, 'cannot be used.*write it like') as raised:
                check_url(url)
            self.assertNotRegex(str(raised.exception), 's3c|ret@|säcret')
            self.assertEqual(MASK, masked_url(url))

    def test_right(self):
        """What is secret in it is known."""
        for url, secrets in RIGHT.items():
            with self.subTest(url):
                check_url(url)
                self.assertEqual(secrets, secrets_of_url(url))
                masked = masked_url(url)
                for secret in secrets:
                    self.assertNotIn(secret, masked.replace('host', ''))
                self.assertIn(url.partition(':')[0], masked)

    def test_place_is_shown(self):
        """Who looks for a broker that is down can see which it is."""
        self.assertEqual(
            'amqp://**@a:1//;amqp://**@b//',
            masked_url('amqp://user:one@a:1//;amqp://user:two@b//'))


class OptionsTest(unittest.TestCase):

    def test_secrets(self):
        """Whatever is called so, at any depth, and URLs anywhere."""
        self.assertEqual(
            ['one', '2', 'three', 'four', 'five'],
            secrets_of_options({
                'broker_transport_options': {
                    'sentinel_kwargs': {'password': 'one'},
                    'ssl_password': 2, 'client_name': 'web', 'port': 1},
                'broker_use_ssl': [{'api_key': ['three']},
                                   {'keyfile': '/etc/key.pem'}],
                'proxy': 'http://user:four@host/',
                'credentials': {'x': 'five', 'y': True, 'z': None}}))


class ScreenTest(unittest.TestCase):

    def hide(self, secret, text):
        return Screen([secret]).hide(text)

    def test_forms(self):
        """However it is quoted, escaped or shown."""
        secret = "p/ä's\\%40 x"
        for shown in ("p/ä's\\@ x", repr("p/ä's\\@ x"), ascii("p/ä's\\@ x"),
                      '"p/\\u00e4\'s\\\\@ x"', 'p%2F%C3%A4%27s%5C%40%20x'):
            with self.subTest(shown):
                text = self.hide(secret, f'before {shown} after')
                self.assertRegex(text, r'^before .?\*\*.? after$')

    def test_several(self):
        """The longest first, if one is part of another."""
        self.assertEqual(
            '** **', Screen(['secret', 'secret-2']).hide('secret-2 secret'))

    def test_short(self):
        """Texts can be read still."""
        self.assertEqual('abc', self.hide('b', 'abc'))

    def test_nothing(self):
        """Without secrets nothing happens."""
        self.assertEqual('text', Screen([]).hide('text'))

    def test_surrogates(self):
        """JSON can say what is no text."""
        self.assertEqual('x ** y', self.hide('\ud800aa', 'x \ud800aa y'))

    def test_formatter(self):
        """Messages, arguments and tracebacks."""
        formatter = HidingFormatter(
            logging.Formatter('%(message)s'), Screen(['s3cret']).hide)
        try:
            raise ValueError('s3cret')
        except ValueError as error:
            record = logging.LogRecord(
                'x', logging.ERROR, 'x', 1, 'at %s', ('s3cret',),
                (type(error), error, error.__traceback__))
        text = formatter.format(record)
        self.assertIn('at **\nTraceback', text)
        self.assertIn('ValueError: **', text)
        self.assertNotIn('s3cret', text.replace("'s3cret'", ''))


class ZopeConfTest(unittest.TestCase):

    def complaint(self, line):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'zope.conf')
            path.write_text(
                f'<product-config gocept.async>\n  {line}\n</product-config>')
            with self.assertRaises(ValueError) as raised:
                zopeconf.read(str(path))
        return str(raised.exception)

    def test_no_secret(self):
        """Of a value that ZConfig cannot read, it quotes parts."""
        for line in ('celery-broker redis://:s3$cret@host/0',
                     'celery-broker redis://:s3${cret@host/0',
                     'celery-broker redis://:s3$(cret)@host/0',
                     'celery-options {"broker_password": "s3$cret"}',
                     'redis://:s3cret@host/0'):
            with self.subTest(line):
                self.assertNotIn('cret', self.complaint(line))

    def test_other_lines(self):
        """They are quoted."""
        self.assertIn("'cret'", self.complaint('path $cret'))
