"""Exceptions that Python 2 has stored."""

import unittest

from ZODB.broken import Broken

from lovely.remotetask.foreign.storederror import text_of
from lovely.remotetask.task import TaskError


class Rude(Exception):

    def __str__(self):
        raise SystemExit('no')


class Verbose(Exception):

    def __str__(self):
        return f'code {self.args[0]}'


def broken(*args):
    class_ = type('PaymentError', (Broken,), {'__module__': 'shop.errors'})
    return class_(*args)


class TextTest(unittest.TestCase):

    def assertTold(self, error, stored):
        self.assertEqual(error, text_of(stored).error)

    def test_messages(self):
        """They are what `str` says, where Python 3 would say that."""
        for stored in (ValueError('no'), TaskError('no way', 17), KeyError(1),
                       Verbose(5), OSError(2, 'gone'), ValueError()):
            with self.subTest(repr(stored)):
                self.assertTold(str(stored), stored)

    def test_bytes(self):
        """What was text is text again, in whatever encoding it was."""
        self.assertTold('M\xfcller', ValueError('M\xfcller'.encode()))
        self.assertTold('M\xfcller', ValueError(b'M\xfcller'))
        self.assertTold("(402, 'f\xfcr')", ValueError(402, b'f\xfcr'))
        self.assertTold("'x'", KeyError(b'x'))

    def test_bytes_that_belong_there(self):
        """An exception with a message of its own is asked for that."""
        error = UnicodeDecodeError('ascii', b'\xff', 0, 1, 'bad')
        self.assertTold(str(error), error)

    def test_class_that_is_gone(self):
        """Its name and its arguments are there."""
        told = text_of(broken(402, b'f\xfcr'))
        self.assertEqual("(402, 'f\xfcr')", told.error)
        self.assertEqual('shop.errors.PaymentError', told.errorClass)
        self.assertTold('no', broken('no'))
        self.assertTold('', broken())

    def test_texts(self):
        """Python 2 could raise those."""
        self.assertEqual(('no', None), text_of('no'))
        self.assertEqual(('n\xf6', None), text_of('n\xf6'.encode()))

    def test_never_trusted(self):
        """Whatever it is, there is a text."""
        for stored in (Rude(), object(), 5, broken(Rude(), object())):
            self.assertIs(str, type(text_of(stored).error))
        self.assertTold('<unprintable Rude object>', Rude())

    def test_size(self):
        self.assertLess(len(text_of(ValueError('x' * 10 ** 6)).error), 5000)
