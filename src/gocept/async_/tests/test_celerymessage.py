"""A message says where a job is; anything else is refused, or left out."""

import json
import tracemalloc
import types
import unittest
import unittest.mock

from gocept.async_.celery import message as celerymessage
from gocept.async_.celery.message import Refused
from gocept.async_.celery.message import made_anew
from gocept.async_.celery.message import read
from gocept.async_.celery.transport import RedisChannel
from gocept.async_.tests import celerygarbage
from gocept.async_.tests.celerygarbage import ELSEWHERE
from gocept.async_.tests.celerygarbage import body
from gocept.async_.tests.celerygarbage import genuine_headers


class OddDict(dict):

    def get(self, *args):
        raise SystemExit('odd')


def message(content, **said):
    """Return a message as a client of a broker gives it."""
    return types.SimpleNamespace(**{
        'body': content, 'headers': genuine_headers(), 'channel': None,
        'content_type': 'application/json', 'delivery_tag': 'tag',
        'properties': {'reply_to': 'x', 'priority': 9}, **said})


class ReadTest(unittest.TestCase):

    def refusal(self, *args, **kw):
        with self.assertRaises(Refused) as raised:
            read(message(*args, **kw))
        return str(raised.exception)

    def test_address(self):
        """As bytes, text or memory."""
        for content in body(), body().decode(), memoryview(body()):
            self.assertEqual(ELSEWHERE, read(message(content)))

    def test_bodies(self):
        """Whatever else they are, they are refused, with one of few reasons.
        """
        known = {'a late transaction', 'a service above', 'another database',
                 "database: '\\x00'", "service: '\\x00'"}
        reasons = set()
        for name, content in celerygarbage.BODIES.items():
            with self.subTest(name):
                if name in known:
                    # That is found out where the services are known.
                    read(message(content))
                else:
                    reasons.add(self.refusal(content))
        self.assertEqual({'it cannot be read', 'it is too large',
                          'it has no address of a job'}, reasons)

    def test_no_body(self):
        """Nor are other objects bodies."""
        for content in None, 5, [], {}, object():
            self.refusal(content)

    def test_other_tasks(self):
        """Those of Celery, too."""
        for task in None, [], 'celery.chain', 'celery.backend_cleanup':
            self.assertEqual(
                'it is no call of gocept.async.run',
                self.refusal(body(), headers={'task': task}))

    def test_headers(self):
        """They may be anything; what is asked of them may end the process."""
        for headers in None, 5, [], 'x', OddDict():
            self.assertEqual(
                'it cannot be read', self.refusal(body(), headers=headers))

    def test_content_types(self):
        """Nothing but JSON is read."""
        for type_ in (None, [], 'application/x-python-serialize',
                      'application/x-yaml', 'application/data'):
            self.assertEqual(
                'it is not JSON', self.refusal(body(), content_type=type_))

    def test_job_ids(self):
        """Only what could be one."""
        for good in 0, 1, 2 ** 63 - 1:
            read(message(body({**ELSEWHERE, 'job': good})))
        for bad in True, 1.0, -1, 2 ** 63, '1', None, [1]:
            self.refusal(body({**ELSEWHERE, 'job': bad}))


class MadeAnewTest(unittest.TestCase):

    def test_nothing_is_taken_over(self):
        """Of headers, properties, and what stands beside the address."""
        plain = made_anew(message(body()), ELSEWHERE)
        for name, headers in celerygarbage.HEADERS.items():
            for key, embedded in celerygarbage.EMBEDDED.items():
                with self.subTest(name, embedded=key):
                    found = made_anew(message(
                        body(embedded={key: embedded}), headers=headers),
                        ELSEWHERE)
                    self.assertEqual(plain.headers.keys(),
                                     found.headers.keys())
                    self.assertEqual(plain.body, found.body)
                    self.assertEqual({}, found.properties)
                    self.assertEqual({}, found.delivery_info)
        self.assertEqual([[], ELSEWHERE, {}], json.loads(plain.body))
        self.assertNotIn('timelimit', plain.headers)

    def test_ids(self):
        """Each delivery has its own: none stands for another one."""
        one, two = (made_anew(message(body()), ELSEWHERE) for _ in range(2))
        self.assertNotEqual(one.headers['id'], two.headers['id'])

    def test_acknowledged(self):
        """The message that has come is."""
        channel = unittest.mock.Mock(no_ack_consumers=None)
        made = made_anew(message(body(), channel=channel), ELSEWHERE)
        made.ack_log_error(None, ())
        channel.basic_ack.assert_called_once_with('tag', multiple=False)
        self.assertTrue(made.acknowledged)

    def test_cannot_be_acknowledged(self):
        """The worker goes on, whatever is raised; one line says so."""
        channel = unittest.mock.Mock(no_ack_consumers=None)
        channel.basic_ack.side_effect = AttributeError
        channel.basic_reject.side_effect = BrokenPipeError
        lost = celerymessage.Complaint(celerymessage.log.warning)
        with unittest.mock.patch.object(
                celerymessage.Message, 'lost', lost), \
                self.assertLogs(celerymessage.log, 'WARNING') as logs:
            for _ in range(9):
                made = made_anew(message(body(), channel=channel), ELSEWHERE)
                made.ack_log_error(None, ())
                made.reject_log_error(None, (), requeue=True)
        self.assertEqual(1, len(logs.output))


class FirstTest(unittest.TestCase):
    """Whether a message is the first of its job, and never came before."""

    def is_first(self, told=None, channel=None, **headers):
        info = {} if told is None else {'redelivered': told}
        return celerymessage.is_first(message(
            body(), headers={**genuine_headers(), **headers},
            delivery_info=info, channel=channel))

    def test_amqp(self):
        """The broker tells of each message whether it has come before."""
        self.assertTrue(self.is_first(False, first=True))
        self.assertFalse(self.is_first(True, first=True))

    def test_redis(self):
        """Who gives a message back tells of it, in one of two places."""
        channel = RedisChannel()
        self.assertTrue(self.is_first(channel=channel, first=True))
        self.assertFalse(self.is_first(True, channel, first=True))
        self.assertFalse(self.is_first(
            None, channel, first=True, redelivered=True))

    def test_other_brokers(self):
        """They may not tell: then no message is the first one."""
        self.assertFalse(self.is_first(first=True))

    def test_not_said(self):
        """The sender says so, in one way; anything else does not."""
        for said in ({}, {'first': 1}, {'first': 'true'}, {'first': None},
                     {'first': [True]}):
            self.assertFalse(self.is_first(False, **said))

    def test_odd_messages(self):
        """Whatever a message is, nothing is raised."""
        for odd in (object(), message(body(), headers=None),
                    message(body(), headers=OddDict())):
            self.assertFalse(celerymessage.is_first(odd))

    def test_made_anew(self):
        """What runs jobs is told."""
        made = made_anew(message(body()), ELSEWHERE, True)
        self.assertEqual([[], {**ELSEWHERE, 'first': True}, {}],
                         json.loads(made.body))

    def test_once(self):
        """A broker that was set back brings messages again."""
        firsts = celerymessage.Firsts()
        other = {**ELSEWHERE, 'job': ELSEWHERE['job'] + 1}
        self.assertEqual([True, False, True, False], [
            firsts.add(each) for each in (
                ELSEWHERE, ELSEWHERE, other, ELSEWHERE)])

    def test_long_names(self):
        """What anybody may send takes no memory."""
        firsts = celerymessage.Firsts()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(1000):
            self.assertTrue(firsts.add(
                {**ELSEWHERE, 'service': f'{number}' + 'x' * 15_000}))
        self.assertLess(tracemalloc.get_traced_memory()[0], 1_000_000)

    def test_not_all_are_remembered(self):
        """Only those that came last."""
        firsts = celerymessage.Firsts()
        with unittest.mock.patch.object(celerymessage, 'REMEMBERED', 3):
            for number in range(10):
                firsts.add({**ELSEWHERE, 'job': number})
            self.assertFalse(firsts.add({**ELSEWHERE, 'job': 9}))
            self.assertTrue(firsts.add({**ELSEWHERE, 'job': 0}))


class NameTest(unittest.TestCase):
    """What is shown of a job: the name of its function."""

    def name(self, said):
        return made_anew(message(body(), headers={
            **genuine_headers(), 'shadow': said}), ELSEWHERE).headers['shadow']

    def test_name(self):
        for name in 'a.b.c', 'gocept.async_.demo.mail', 'lib.größe', 'tick':
            self.assertEqual(name, self.name(name))

    def test_anything_else(self):
        """Is not shown."""
        for said in (None, '', 5, ['x'], 'a b', 'a\nb', 'x' * 501, '\x1b[2J',
                     'a%(secret)s', '{0}', '"'):
            self.assertIsNone(self.name(said))


class RefusalsTest(unittest.TestCase):

    def test_one_line_a_kind(self):
        """However many messages there are."""
        refusals = celerymessage.Refusals()
        with self.assertLogs(celerymessage.log, 'WARNING') as logs:
            for _ in range(1000):
                refusals.add('it is too large')
                refusals.add('it cannot be read')
        self.assertEqual(2, len(logs.output))
