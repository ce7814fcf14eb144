"""Times as a crontab writes them."""

import unittest

from lovely.remotetask import cron
from lovely.remotetask import crontab
from lovely.remotetask.interfaces import ICronJob
from lovely.remotetask.job import CronJob


EVERY_MINUTE = tuple(range(60))


def stored(**fields):
    """Return the fields of a job that is made with some, without empty ones.
    """
    job = CronJob(1, 'test.task', None, **fields)
    return {name: getattr(job, name) for name in crontab.FIELDS
            if getattr(job, name)}


class FieldTest(unittest.TestCase):
    """A field of ICronJob may be a text."""

    def test_what_is_meant(self):
        for name, text, expected in (
                ('minute', '*/15', (0, 15, 30, 45)),
                ('minute', '5', (5,)), ('minute', ' 5 , 1 ', (1, 5)),
                ('minute', '*', EVERY_MINUTE), ('minute', '07', (7,)),
                ('minute', '0-10/5,59', (0, 5, 10, 59)),
                ('minute', '1-9/59', (1,)),
                ('hour', '22-23,0-2', (0, 1, 2, 22, 23)),
                ('hour', '8-18/5', (8, 13, 18)), ('hour', '2,2', (2,)),
                ('dayOfMonth', '*/10', (1, 11, 21, 31)),
                ('month', 'jan-mar,Dec', (1, 2, 3, 12)),
                ('month', 'SEPTEMBER', (9,)), ('month', '2-8/3', (2, 5, 8)),
                ('dayOfWeek', '0', (0,)), ('dayOfWeek', 'mon', (0,)),
                ('dayOfWeek', 'mon-fri', (0, 1, 2, 3, 4)),
                ('dayOfWeek', 'sunday', (6,)), ('dayOfWeek', '5-6', (5, 6)),
                # A week has no first day.
                ('dayOfWeek', 'sat-tue', (0, 1, 5, 6)),
                ('dayOfWeek', 'fri-mon/2', (4, 6)),
                ('dayOfWeek', '*', (0, 1, 2, 3, 4, 5, 6))):
            with self.subTest(field=name, text=text):
                self.assertEqual({name: expected}, stored(**{name: text}))

    def test_each_value(self):
        """A number as a text is the same as the number."""
        for name, numbers in cron.RANGES.items():
            for number in numbers:
                self.assertEqual(
                    stored(**{name: number}), stored(**{name: str(number)}))

    def test_what_is_refused(self):
        """The message names field and value, and says what to write."""
        for name, text, why in (
                ('hour', '24', '0 to 23'), ('hour', '-1', '0 to 23'),
                ('hour', '', '0 to 23'), ('hour', '2,', '0 to 23'),
                ('hour', '2-', '0 to 23'), ('hour', '1-2-3', '0 to 23'),
                ('hour', '2.0', '0 to 23'), ('hour', '٢', '0 to 23'),
                ('hour', '²', '0 to 23'), ('hour', '0x2', '0 to 23'),
                ('hour', '22-2', '22-23,0-2'), ('hour', '?', '0 to 23'),
                ('hour', '*/0', 'step of 1 to 23'),
                ('hour', '*/24', 'step of 1 to 23'),
                ('hour', '*/', 'step of 1 to 23'),
                ('hour', '*/2/2', 'step of 1 to 23'),
                ('hour', f'*/{"9" * 500}', 'step of 1 to 23'),
                ('hour', '5/2', '5-23/2'), ('hour', '1' * 500, '0 to 23'),
                ('hour', '1,' * 5000, 'longer than'),
                ('minute', '*/90', 'step of 1 to 59'),
                ('minute', '*/0001234567', 'step of 1 to 59'),
                ('minute', '*/00010', 'step of 1 to 59'),
                ('month', '0', '1 to 12 or jan to dec'),
                ('month', 'ja', 'jan to dec'), ('month', 'mon', 'jan to dec'),
                ('dayOfMonth', 'L', '1 to 31'),
                ('dayOfWeek', '7', '0 to 6 or mon to sun'),
                ('dayOfWeek', 'fri#2', 'mon to sun')):
            with self.subTest(field=name, text=text[:9]):
                with self.assertRaises(ValueError) as caught:
                    stored(**{name: text})
                message = str(caught.exception)
                self.assertIn(name, message)
                self.assertIn(why, message)
                self.assertIn('write whole numbers', message)
                self.assertLess(len(message), 600)


class ExpressionTest(unittest.TestCase):

    def test_what_is_meant(self):
        for text, expected in (
                ('0 2 * * mon-fri', {'minute': (0,), 'hour': (2,),
                                     'dayOfWeek': (0, 1, 2, 3, 4)}),
                ('* * * * *', {}),
                ('* 2 * * *', {'minute': EVERY_MINUTE, 'hour': (2,)}),
                ('*/20 * * * *', {'minute': (0, 20, 40)}),
                ('5 * 1 * *', {'minute': (5,), 'dayOfMonth': (1,)}),
                (' 5\t4  * 2-3 *\n', {'minute': (5,), 'hour': (4,),
                                      'month': (2, 3)}),
                ('0 0 */2 * fri', {
                    'minute': (0,), 'hour': (0,), 'dayOfWeek': (4,),
                    'dayOfMonth': tuple(range(1, 32, 2))}),
                ('@daily', {'minute': (0,), 'hour': (0,)}),
                ('@Monthly', {'minute': (0,), 'hour': (0,),
                              'dayOfMonth': (1,)})):
            with self.subTest(text):
                found = crontab.fields(text)
                self.assertEqual(expected, {
                    name: value for name, value in found.items() if value})
                self.assertLessEqual(set(found), set(ICronJob))
                stored(**found)

    def test_days_of_the_week(self):
        """A crontab begins the week with Sunday, which is 7, too."""
        for text, expected in (
                ('0', (6,)), ('7', (6,)), ('1', (0,)), ('6', (5,)),
                ('1-5', (0, 1, 2, 3, 4)), ('5-7', (4, 5, 6)),
                ('0-2', (0, 1, 6)), ('sun-tue', (0, 1, 6)),
                ('fri-mon', (0, 4, 5, 6)), ('*/2', (1, 3, 5, 6)),
                ('0-7', (0, 1, 2, 3, 4, 5, 6)), ('Sun,Sat', (5, 6))):
            with self.subTest(text):
                self.assertEqual(expected, crontab.fields(
                    f'0 0 * * {text}')['dayOfWeek'])

    def test_what_is_refused(self):
        for text, why in (
                ('', '0 fields'), ('0 2 * *', '4 fields'),
                ('0 2 * * * root', '6 fields'), ('@reboot', '1 fields'),
                ('0 25 * * *', 'hour must be 0 to 23'),
                ('0 2 13 * fri', 'two jobs'), ('0 2 1-5 * 1', 'two jobs'),
                ('0 2 * * 8', 'day of the week must be 0 to 7'),
                ('0 2 32 * *', 'day of the month must be 1 to 31'),
                ('x' * 5000, 'no text of up to'), (5, 'no text'),
                (None, 'no text'), (b'0 2 * * *', 'no text')):
            with self.subTest(str(text)[:9]):
                with self.assertRaises(ValueError) as caught:
                    crontab.fields(text)
                message = str(caught.exception)
                self.assertIn(why, message)
                self.assertIn(repr(text)[:20], message)
                self.assertIn('"0 2 * * mon-fri"', message)
                self.assertLess(len(message), 600)
