"""What the pages are made of, without any page."""

import datetime
import decimal
import itertools
import re
import unittest
from urllib.parse import unquote

import transaction
import ZODB
import zope.component
import zope.component.testing
from zope.i18nmessageid import Message
from zope.publisher.browser import TestRequest

from lovely.remotetask import TaskService
from lovely.remotetask import crontab
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser import place
from lovely.remotetask.browser.markup import Markup
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.markup import visible
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.wording import NOW
from lovely.remotetask.browser.wording import Words
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration
from lovely.remotetask.browser.wording import shortened
from lovely.remotetask.cron import Readings
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.jobtexts import JobTexts
from lovely.remotetask.management import Management
from lovely.remotetask.task import EchoTask


class Gone:
    """A class that is not there any more when its object is shown."""

    def __init__(self):
        self.x = 1

    def __repr__(self):
        raise AssertionError('the code of the application was called')


class MarkupTest(unittest.TestCase):

    def test_escaped(self):
        """Texts are escaped, Markup is not, wherever they come."""
        self.assertEqual(
            '<b title="&quot;&lt;">&lt;i&gt;<u>&amp;</u></b>',
            tag('b', ['<i>', tag('u', '&')], title='"<'))
        self.assertEqual('<a href="&lt;b&gt;"></a>',
                         tag('a', href=Markup('<b>')))

    def test_attributes(self):
        """An attribute that is None is left out."""
        self.assertEqual('<a class="x" hidden="hidden"></a>', tag(
            'a', class_='x', title=None, hidden=True, checked=False))
        self.assertEqual('<input name="&amp;" />', tag('input', name='&'))

    def test_visible(self):
        """What cannot be seen, or turns the text, is told by its number."""
        self.assertEqual('a\\x00\\u202e\\ud800\n\té',
                         visible('a\x00\u202e\ud800\n\té'))
        self.assertEqual('\\u061c\\u2028\\u2029\\u200f',
                         visible('\u061c\u2028\u2029\u200f'))


class WordingTest(unittest.TestCase):

    def test_relative(self):
        """How long ago, or ahead, in the largest unit."""
        say = Words(TestRequest())
        for seconds, text in ((0.4, 'now'), (59, '59 s ago'),
                              (61, '1 min ago'), (-7200, 'in 2 h'),
                              (200000, '2 d ago')):
            self.assertEqual(text, say.relative(seconds))

    def test_messages_in_messages(self):
        """What is put into a message is translated, too, and not again."""
        say = Words(TestRequest())
        message = _('${x} and ${y}')
        self.assertEqual('now and ${x}', say(message, x=NOW, y='${x}'))
        self.assertEqual('${x} and ${y}', say(message))
        self.assertEqual('1 and 2', say('${x} and ${y}', x=1, y=2))
        self.assertEqual('1 and ${y}', say(Message(message, mapping={'x': 1})))

    def test_messages_of_others(self):
        """Two with the same text may have another domain, or default."""
        say = Words(TestRequest())
        for default in ('one', 'two'):
            self.assertEqual(default, say(_('same', default)))

    def test_duration(self):
        for seconds, text in (
                (None, ''), (0, '0 ms'), (0.0351, '35 ms'), (-1, '0 ms'),
                (0.9999, '1.0 s'), (1.24, '1.2 s'), (59.97, '1 min 0 s'),
                (184, '3 min 4 s'), (7260, '2 h 1 min'),
                (200000, '2 d 7 h')):
            self.assertEqual(text, duration(seconds), seconds)

    def test_shortened(self):
        """A text that is too long loses its middle."""
        self.assertEqual('abc', shortened('abc', 3))
        self.assertEqual('abcd…xyz', shortened('abcdefghixyz', 8))

    def test_function(self):
        found = cells.function('a.' * 60 + 'send', 30)
        self.assertLessEqual(len(re.sub('<[^>]*>', '', found)), 31)
        self.assertIn('>send</b>', found)


class PlaceTest(unittest.TestCase):

    def test_any_name(self):
        """Any name is one part of an address, and comes back from it."""
        for name in ('events', '', '.', '..', '...', 'a/b', '+x', '@@view',
                     '++etc++site', '%', '%2F', 'Größe', ' ', 'a?b#c', '\\',
                     'x;y', '"<>', '%25', 'a\ud800', '\udfff%', '%ED%A0%80'):
            with self.subTest(name):
                segment = place.segment(name)
                self.assertRegex(segment, r'\A[\w.~%-]+\Z')
                decoded = unquote(segment)
                self.assertNotIn('/', decoded)
                self.assertNotIn(decoded, ('', '.', '..'))
                self.assertNotIn(decoded[0], '+@')
                self.assertEqual(name, place.name_of(decoded))
        # Anybody may ask for anything.
        self.assertEqual('a\ufffd', place.name_of('a%FF'))


class CronWordsTest(unittest.TestCase):

    PATTERNS = (
        ({}, 'every minute', '* * * * *'),
        ({'minute': (5,)}, 'every hour at minute 5', '5 * * * *'),
        ({'hour': (2, 14)}, 'at 02:00, 14:00 every day', '0 2,14 * * *'),
        ({'dayOfWeek': (4,), 'hour': (9,), 'minute': (30,)},
         'at 09:30 on Friday', '30 9 * * 5'),
        ({'dayOfWeek': (2, 0, 1)}, 'at 00:00 on Monday to Wednesday',
         '0 0 * * 1-3'),
        ({'dayOfMonth': (1, 15)}, 'at 00:00 on day 1, 15 of the month',
         '0 0 1,15 * *'),
        ({'month': (5,)}, 'at 00:00 on day 1 of the month in May',
         '0 0 1 5 *'),
        ({'minute': range(0, 60, 10), 'hour': (8, 9)},
         'at minute 0, 10, 20, 30, 40, 50 of hour 8, 9 every day',
         '*/10 8,9 * * *'),
        ({'minute': range(0, 60, 5)}, 'every 5 minutes', '*/5 * * * *'),
        ({'minute': range(60), 'hour': (2,)}, 'every minute of hour 2 every '
         'day', '* 2 * * *'),
        ({'minute': range(60)}, 'every minute', '* * * * *'),
        ({'hour': (8, 9, 10, 13)}, 'at 08:00, 09:00, 10:00, 13:00 every day',
         '0 8-10,13 * * *'),
        ({'hour': range(0, 24, 7)}, 'at 00:00, 07:00, 14:00, 21:00 every day',
         '0 */7 * * *'))

    def test_words(self):
        say = Words(TestRequest())
        for given, text, fields in self.PATTERNS:
            pattern = {name: list(given.get(name, ()))
                       for name in cronwords.FIELDS}
            with self.subTest(text):
                self.assertEqual(text, cronwords.words(pattern, say))
                self.assertEqual(fields, cronwords.crontab(pattern))


    def test_expressions(self):
        """An expression that is shown means what the job does."""
        days = [number for size in range(8)
                for number in itertools.combinations(range(7), size)]
        for fields in (
                *({'dayOfWeek': each} for each in days),
                *({'dayOfWeek': each, 'dayOfMonth': range(1, 32, 10)}
                  for each in days),
                {'dayOfWeek': (4,), 'dayOfMonth': range(1, 32)},
                {'dayOfWeek': range(7), 'dayOfMonth': (13,)},
                {'month': (2,)}, {'month': range(1, 13, 3)},
                {'month': range(1, 13)}, {'minute': range(60), 'hour': (2,)},
                {'hour': range(24)}, {}):
            with self.subTest(fields):
                pattern = {name: list(fields.get(name, ()))
                           for name in cronwords.FIELDS}
                self.assertEqual(
                    self.readings(pattern), self.readings(
                        crontab.fields(cronwords.crontab(pattern))))

    def readings(self, pattern):
        found = vars(Readings(**{name: tuple(values) for name, values
                                 in pattern.items()}))
        return {name: sorted(values) for name, values in found.items()}

    def test_no_expression(self):
        """A crontab would run a job on either of two kinds of days."""
        pattern = {**dict.fromkeys(cronwords.FIELDS, []),
                   'dayOfMonth': [13], 'dayOfWeek': [4]}
        self.assertIsNone(cronwords.crontab(pattern))
        self.assertEqual('at 00:00 on Friday on day 13 of the month',
                         cronwords.words(pattern, Words(TestRequest())))


class ParametersTest(unittest.TestCase):

    def test_times(self):
        """A time without an offset is in UTC."""
        for text, seconds in (('1970-01-01T00:01', 60),
                              ('1970-01-01 01:00:00+01:00', 0)):
            self.assertEqual(
                seconds, parameters.time({'since': text}, 'since'))

    def test_refused(self):
        """What is none of what is asked for, or too much, is refused."""
        for call, value in ((parameters.text, ['a', 'b']),
                            (parameters.text, 'x' * 2000),
                            (parameters.number, '-1'),
                            (parameters.number, '٣'),
                            (parameters.time, 'tomorrow'),
                            (parameters.time, '9' * 50)):
            with self.subTest(value=value), self.assertRaises(Problem):
                call({'x': value}, 'x')

    def test_selection(self):
        """A selection becomes an address, and an argument."""
        selection = Selection(
            status='error', error_class='a.B&c', since='1970-01-01T00:01')
        self.assertEqual(
            '?status=error&error_class=a.B%26c&since=1970-01-01T00%3A01&x=1',
            selection.query(x=1))
        self.assertEqual(
            {'status': 'error', 'errorClass': 'a.B&c', 'since': 60},
            selection.arguments())


class StoredTestCase(unittest.TestCase):
    """A service in a database."""

    def setUp(self):
        zope.component.testing.setUp()
        self.addCleanup(zope.component.testing.tearDown)
        zope.component.provideUtility(EchoTask(), ITask, 'echo')
        self.db = ZODB.DB(None)
        self.addCleanup(self.db.close)
        connection = self.db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        self.service = connection.root()['service'] = TaskService()
        transaction.commit()


class JobTextsTest(StoredTestCase):

    def text(self, value):
        """Return what is told of an input that was stored."""
        jobid = self.service.add('echo', value)
        transaction.commit()
        self.service._p_jar.cacheMinimize()
        job = self.service.jobs[jobid]
        [(name, text)] = JobTexts(job).arguments
        self.assertEqual('input', name)
        return text

    def test_plain(self):
        for value in (None, 7, 'a', b'b', [1, (2, {'c': {3}})], 1.5, True,
                      datetime.date(2026, 1, 31), decimal.Decimal('1.20')):
            with self.subTest(value=value):
                self.assertEqual(repr(value), self.text(value))

    def test_objects(self):
        """Of an object its class is told; its code is not called."""
        self.assertEqual(f"{{'a': <{__name__}.Gone>}}",
                         self.text({'a': Gone()}))

    def test_persistent(self):
        """Of a persistent object, where it is."""
        root = self.service._p_jar.root()
        self.assertEqual(
            '[<persistent.mapping.PersistentMapping at oid 0x0>]',
            self.text([root]))

    def test_limits(self):
        """However large, the text is short."""
        for value in ('x' * 100000, list(range(10000)),
                      {str(each): 'y' * 1000 for each in range(500)}):
            self.assertLess(len(self.text(value)), 10000)


class ManagementTest(StoredTestCase):

    def test_token(self):
        """A token is its principal's, and its service's."""
        management = Management(self.service)
        token = management.make_token('alice')
        self.assertTrue(management.accepts_token('alice', token))
        for who, wrong in (('bob', token), ('alice', token[:-1]),
                           ('alice', None), ('alice', [token]),
                           ('alice', ''), ('alice', 'ü'), ('alice', '\ud800')):
            self.assertFalse(management.accepts_token(who, wrong))
        self.assertFalse(
            Management(TaskService()).accepts_token('alice', token))
        self.assertTrue(management.make_token('\ud800'))

    def test_without_secret(self):
        """A service without a secret accepts nothing."""
        self.service._store.secret = None
        management = Management(self.service)
        self.assertFalse(management.accepts_token(
            'alice', management.make_token('alice')))

    def test_workers(self):
        """Who has claimed what."""
        jobid = self.service.add('echo')
        self.assertEqual(jobid, self.service.claimNextJob(now=9e9))
        [found] = Management(self.service).workers()
        self.assertEqual([(jobid, 9e9)], found['claims'])
