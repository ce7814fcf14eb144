"""The JSON of the management pages, and its description."""

import json
import unittest
from unittest import mock

import transaction

from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.pageslayer import PagesTestCase
from lovely.remotetask import TaskService
from lovely.remotetask.browser import openapi
from lovely.remotetask.browser import pages
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.serviceaction import KINDS


TYPES = {'string': str, 'integer': int, 'boolean': bool, 'array': list,
         'object': dict, 'null': type(None), 'number': (int, float)}


def mismatches(schema, value, where='answer'):
    """Yield where a value is not as a schema says."""
    if '$ref' in schema:
        schema = openapi.SCHEMAS[schema['$ref'].rpartition('/')[2]]
    if 'anyOf' in schema:
        if all(list(mismatches(each, value)) for each in schema['anyOf']):
            yield f'{where}: {value!r}'
        return
    if not is_of_type(schema, value):
        yield f'{where}: {value!r}'
    for each in value if isinstance(value, list) else ():
        yield from mismatches(schema['items'], each, f'{where}[]')
    if isinstance(value, dict):
        yield from mismatches_of_object(schema, value, where)


def is_of_type(schema, value):
    types = schema['type']
    types = types if isinstance(types, list) else [types]
    return value in schema.get('enum', [value]) and any(
        isinstance(value, TYPES[name]) for name in types)


def mismatches_of_object(schema, value, where):
    for name in schema.get('required', ()):
        if name not in value:
            yield f'{where}.{name} is missing'
    others = schema.get('additionalProperties', True)
    for name, each in value.items():
        known = schema.get('properties', {}).get(name, others)
        if known is False:
            yield f'{where}.{name} is not described'
        elif known is not True:
            yield from mismatches(known, each, f'{where}.{name}')


class DescriptionTest(unittest.TestCase):

    def test_routes(self):
        """What there is, is described; and nothing else."""
        described = openapi.document('')['paths']
        expected = {'/+overview.json', '/{service}/bulk',
                    '/{service}/jobs/{id}/pattern', '/{service}/cron-add',
                    '/{service}/jobs/{id}.json',
                    *(f'/{{service}}/{name}.json' for name in pages.PAGES),
                    *(f'/{{service}}/{name}' for name in KINDS),
                    *(f'/{{service}}/jobs/{{id}}/{name}'
                      for name in ACTIONS)}
        self.assertEqual(expected, set(described))


class AnswersTest(PagesTestCase):

    def setUp(self):
        super().setUp()
        sample.fail.enqueue('no')
        sample.add.enqueue(1, b=2)
        process('events', raise_errors=False)
        self.cron = self.service.addCronJob('echo', hour=2)
        self.waits = self.service.add('echo', {'a': 1})
        transaction.commit()

    def assert_described(self, described, method, answer):
        self.assertEqual(200, answer.status_int)
        schema = described[method]['responses']['200']['content'][
            'application/json']['schema']
        self.assertEqual([], list(mismatches(schema, answer.json)))

    def test_pages(self):
        """Each answer is as its description says, for whoever asks."""
        answer = self.ask('+openapi.json', 'viewer')
        self.assertEqual('3.1.0', answer.json['openapi'])
        for path, described in answer.json['paths'].items():
            if 'get' not in described:
                continue
            for job in self.jobs():
                asked = path[1:].format(service='events', id=job.id)
                if 'bulk' in asked:
                    asked += '?action=requeue&status=error'
                with self.subTest(asked):
                    self.assert_described(
                        described, 'get', self.ask(asked))
        for job in self.jobs():
            self.assert_described(
                answer.json['paths']['/{service}/jobs/{id}.json'], 'get',
                self.ask(f'events/jobs/{job.id}.json', 'viewer'))

    SENT = {'bulk': {'action': 'cancel'}, 'pattern': {'hour': 3},
            'cron-add': {'function': 'echo', 'hour': 2}}

    def test_actions(self):
        """What is done answers as described; or with a problem."""
        # No thread is wanted here.
        self.enterContext(mock.patch.object(TaskService, 'startProcessing'))
        paths = self.ask('+openapi.json').json['paths']
        for path, described in sorted(paths.items()):
            if 'post' not in described:
                continue
            for jobid in (self.cron, self.waits):
                asked = path[1:].format(service='events', id=jobid)
                with self.subTest(asked):
                    answer = self.post_json(asked, **self.SENT.get(
                        path.rpartition('/')[2], {}))
                    if answer.status_int == 200:
                        self.assert_described(described, 'post', answer)
                    else:
                        self.assert_problem(answer)

    def assert_problem(self, answer):
        self.assertEqual('application/problem+json', answer.content_type)
        self.assertEqual([], list(mismatches(
            openapi.SCHEMAS['Problem'], answer.json)))
        self.assertEqual(answer.status_int, answer.json['status'])

    def test_problems(self):
        """Whatever is refused is told in the same way."""
        for path, who, status in (
                ('events/jobs.json', 'anonymous', 401),
                ('events/jobs.json', 'user', 403),
                ('events/audit.json', 'viewer', 403),
                ('events/jobs.json?status=x', 'viewer', 400),
                ('events/jobs/99.json', 'viewer', 404),
                ('events/jobs/abc.json', 'viewer', 404),
                ('events/nothing.json', 'viewer', 404),
                ('nothing/jobs.json', 'viewer', 404),
                ('nothing/jobs/7/requeue.json', 'viewer', 404),
                ('+nothing.json', 'viewer', 404),
                ('+overview.json', 'anonymous', 401)):
            with self.subTest(path, who=who):
                answer = self.ask(path, who)
                self.assertEqual(status, answer.status_int)
                self.assert_problem(answer)
                if status == 401:
                    self.assertIn('WWW-Authenticate', answer.headers)

    def test_encoding(self):
        """JSON is UTF-8, whatever a reader prefers."""
        for charset in 'utf-16', 'iso-8859-1', 'utf-32, *;q=0':
            for path in 'events/jobs.json', 'events/jobs.json?status=x':
                answer = self.ask(path, headers={'Accept-Charset': charset})
                self.assertNotIn('charset', answer.headers['Content-Type'])
                self.assertEqual(b'{', answer.body[:1])
                json.loads(answer.body.decode('utf-8'))

    def test_nothing_to_do(self):
        """Nor is there anything else for what is sent to a wrong address."""
        for path in ('nothing/pause', 'events/nothing', 'events/pause/x',
                     'events/jobs/7/nothing', 'events/jobs/x/requeue'):
            with self.subTest(path):
                answer = self.post_json(path)
                self.assertEqual(404, answer.status_int)
                self.assert_problem(answer)
