"""The directive async:cron."""

import tempfile
import unittest
from pathlib import Path

import zope.component
import zope.schema
from zope.configuration.config import ConfigurationConflictError
from zope.configuration.exceptions import ConfigurationError
from zope.interface.verify import verifyObject

from gocept.async_.crons.declaration import declarations_of
from gocept.async_.crons.directive import ICronDirective
from gocept.async_.interfaces import ICronDeclaration
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import CLOSE
from gocept.async_.tests.configuration import OPEN
from gocept.async_.tests.configuration import execute
from gocept.async_.tests.configuration import read


SERVICE = '<async:service name="events" />'


def cron(name='nightly', function=f'{sample.__name__}.context',
         service='events', **attributes):
    """Return an async:cron directive."""
    if not set(attributes) - {'principal'}:
        attributes['hour'] = '2'
    attributes = {'name': name, 'function': function, 'service': service,
                  **attributes}
    return '<async:cron {} />'.format(' '.join(
        f'{key}="{value}"' for key, value in attributes.items()))


class SchemaTest(unittest.TestCase):

    def test_every_field_is_explained(self):
        for name, field in zope.schema.getFields(ICronDirective).items():
            with self.subTest(name):
                self.assertTrue(field.title)
                self.assertTrue(field.description.endswith('.'))


class DirectiveTest(unittest.TestCase):

    layer = FUNCTIONAL_LAYER

    def declared(self, *directives):
        execute(self, SERVICE + ''.join(directives))
        return declarations_of('events')

    def test_declaration(self):
        found, = self.declared(cron(
            hour='2', timezone='Europe/Berlin', principal='zope.user'))
        verifyObject(ICronDeclaration, found)
        self.assertEqual(
            ('nightly', 'events', f'{sample.__name__}.context', 'zope.user'),
            (found.name, found.service, found.function, found.principal))
        self.assertEqual(
            {'minute': (), 'hour': (2,), 'dayOfMonth': (), 'month': (),
             'dayOfWeek': (), 'timezone': 'Europe/Berlin'}, found.pattern)

    def test_expression(self):
        found, other = self.declared(
            cron(expression='0 2 * * mon-fri'),
            cron('other', dayOfWeek='mon-fri', hour='2', minute='0'))
        self.assertEqual(found.pattern, other.pattern)

    def test_each_minute_is_to_be_said(self):
        found, other = self.declared(
            cron('a', expression='* * * * *'), cron('b', minute='*'))
        self.assertEqual((), found.pattern['minute'])
        self.assertEqual(tuple(range(60)), other.pattern['minute'])

    def test_function_with_other_decorators(self):
        """Its name is the one that calls are stored with."""
        found, = self.declared(cron(
            function=f'{sample.__name__}.announced_when_called'))
        self.assertEqual(f'{sample.__name__}.announced_when_called',
                         found.function)

    def test_one_of_a_name_for_each_service(self):
        execute(self, SERVICE + '<async:service name="mail" />' + cron()
                + cron(service='mail') + cron('other'))
        self.assertEqual(['nightly', 'other'], [
            each.name for each in declarations_of('events')])
        self.assertEqual(['nightly'], [
            each.name for each in declarations_of('mail')])
        with self.assertRaises(ConfigurationConflictError):
            read(SERVICE + cron() + cron(hour='3')).execute_actions()

    def test_nothing_is_registered_by_reading(self):
        read(SERVICE + cron())
        self.assertEqual([], list(
            zope.component.getUtilitiesFor(ICronDeclaration)))

    def refused(self, *directives):
        with self.assertRaises(ConfigurationError) as caught:
            execute(self, ''.join(directives))
        self.doCleanups()
        return str(caught.exception)

    def test_when(self):
        """The value is named, and what to write."""
        for attributes, expected in (
                ({'expression': '0 25 * * *'},
                 ("'0 25 * * *'", 'hour must be 0 to 23', "'25'")),
                ({'expression': '0 2 * *'}, ('4 fields', '"0 2 * * mon-fri"')),
                ({'expression': '0 2 13 * fri'}, ('two jobs',)),
                ({'expression': '0 2 30 2 *'}, ('No day ever matches',)),
                ({'expression': '@daily', 'hour': '2'}, ('not by both',)),
                ({'timezone': 'Europe/Berlin'}, ('not by neither',)),
                ({'hour': '24'}, ("hour must be 0 to 23, not '24'", '*/2')),
                ({'minute': '*/0'}, ('minute must', 'step of 1 to 59')),
                ({'month': 'feb', 'dayOfMonth': '30'}, ('No day ever',)),
                ({'hour': '2', 'timezone': 'Europe/Berln'},
                 ('Europe/Berln', 'did you mean "Europe/Berlin"'))):
            with self.subTest(attributes):
                message = self.refused(SERVICE, cron(**attributes))
                for each in ('async:cron "nightly"', *expected):
                    self.assertIn(each, message)

    def test_function(self):
        module = sample.__name__
        for name, expected in (
                (f'{module}.undecorated', 'no decorated function'),
                (f'{module}.hidden', 'no decorated function'),
                (f'{module}.calls', 'no decorated function'),
                (f'{module}.Content', 'no decorated function'),
                (module, 'no decorated function'),
                (f'{module}.add', "missing a required argument: 'a'"),
                (f'{module}.change', 'a required argument'),
                (f'{module}.anonymous', 'no function'),
                (f'{module}.first_shadowed', 'another function'),
                (f'{module}.gone', 'gone'), ('no.such.module', 'no')):
            with self.subTest(name):
                self.assertIn(expected, self.refused(
                    SERVICE, cron(function=name)))

    def test_principal(self):
        for principal in '', ' ':
            with self.subTest(principal):
                message = self.refused(SERVICE, cron(
                    hour='2', principal=principal))
                self.assertIn(f'principal="{principal}" is the id of nobody',
                              message)

    def test_service(self):
        message = self.refused(SERVICE, cron(service='evnts'))
        self.assertIn('"evnts"', message)
        self.assertIn('choose one of events', message)
        message = self.refused(cron())
        self.assertIn('(none is)', message)
        self.assertIn('<async:service name="events" />', message)

    def test_overridden(self):
        """An application changes the cron job of a package."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, directive in (('package', cron(principal='theirs')),
                                ('overrides', cron(hour='3'))):
            (folder / f'{name}.zcml').write_text(OPEN + directive + CLOSE)
        execute(self, f'{SERVICE}<include file="{folder}/package.zcml" />'
                f'<includeOverrides file="{folder}/overrides.zcml" />')
        found, = declarations_of('events')
        self.assertEqual(((3,), None),
                         (found.pattern['hour'], found.principal))

    def test_name(self):
        for name in ('', ' ', ' nightly', 'x' * 101):
            self.refused(SERVICE, cron(name))
