"""What a message of the broker may say: where a job is, and nothing else.

Whoever can write to the broker can send anything.  What comes from there is
read here, and only here; the worker goes on with what was made of it.
"""

import json
import re
import uuid

import kombu.message

from gocept.async_.celery.settings import FIRST
from gocept.async_.celery.settings import TASK
from gocept.async_.celery.transport import RedisChannel
from gocept.async_.recurring import Complaint
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of


log = journal(__name__)

# Bytes of the body of a message; an address has some hundred.
MAX_SIZE = 16 * 1024

# Greater than any job id.
MAX_JOB = 2 ** 63

JSON = 'application/json'

# What is shown as the name of a function.
NAME = re.compile(r'[\w.<>+:-]{1,500}')

# Of so many jobs it is known that their first messages have come.
REMEMBERED = 100_000


class Refused(Exception):
    """A message is none that is sent here.

    The text is one of few, whatever the message says.
    """


def read(message):
    """Return the address that a message tells.

    message -- as the client for the broker gives it; anything may be in it.

    Raise Refused.
    """
    outcome = outcome_of(_address, message)
    if outcome.failed and not outcome.is_a(Refused):
        raise Refused('it cannot be read')
    if outcome.failed:
        raise outcome.exception
    return outcome.value


def _address(message):
    task = message.headers.get('task')
    if task != TASK:
        # The name may be that of one of Celery's own tasks, which a worker
        # would run.
        raise Refused('it is no call of gocept.async.run')
    if message.content_type != JSON:
        raise Refused('it is not JSON')
    if len(message.body) > MAX_SIZE:
        raise Refused('it is too large')
    arguments, address, _ = json.loads(
        message.body if isinstance(message.body, str)
        else bytes(message.body))
    if arguments != [] or not _is_address(address):
        raise Refused('it has no address of a job')
    return address


def _is_address(found):
    return (type(found) is dict and found.keys() == CHECKS.keys()
            and all(CHECKS[name](value) for name, value in found.items()))


def _is_text(value):
    return type(value) is str


def _is_job(value):
    return type(value) is int and 0 <= value < MAX_JOB


def _is_attempt(value):
    return type(value) is int and 0 < value < MAX_JOB


def _is_tid(value):
    return type(value) is str and re.fullmatch('[0-9a-f]{16}', value)


# What has to stand in an address; see processor.address.
CHECKS = {'database': _is_text, 'service': _is_text, 'job': _is_job,
          'attempt': _is_attempt, 'tid': _is_tid}


def name_in(message):
    """Return what the job of a message runs, for people; None if unknown."""
    found = outcome_of(lambda: message.headers.get('shadow')).value
    return found if type(found) is str and NAME.fullmatch(found) else None


def is_first(message):
    """Return whether a message is the first of its job, and never came before.

    False if that is not known: not all brokers tell.
    """
    return outcome_of(_is_first, message).value is True


def _is_first(message):
    if message.headers.get(FIRST) is not True:
        return False
    redelivered = message.delivery_info.get('redelivered')
    if isinstance(message.channel, RedisChannel):
        # What is given back is marked by the client that does so.
        redelivered = bool(redelivered or message.headers.get('redelivered'))
    return redelivered is False


class Firsts:
    """The jobs of which first messages have come lately.

    A broker that was set back to an earlier state brings them once more, and
    does not say so.
    """

    def __init__(self):
        self._seen = {}

    def add(self, address):
        """Remember a job.  Return whether it is the first time."""
        # Nobody has looked yet whether there is such a service, and its name
        # may be long.  Where two have the same hash, one of them is claimed.
        key = hash((address['service'], address['job']))
        if key in self._seen:
            return False
        self._seen[key] = True
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True


class Refusals:
    """Says which messages were refused: one line a kind, now and then."""

    def __init__(self):
        self._complaints = {}

    def add(self, reason):
        """Count a message that was refused.

        reason -- str, one of few.
        """
        complaint = self._complaints.setdefault(reason, Complaint(log.warning))
        complaint.say('a message from the broker was refused: %s', reason)


class Message(kombu.message.Message):
    """A message that is acknowledged if its connection is still there.

    One that is not comes again, and does nothing then.
    """

    lost = Complaint(log.warning)

    def ack_log_error(self, logger, errors, multiple=False):
        self._tell(outcome_of(self.ack))

    def reject_log_error(self, logger, errors, requeue=False):
        self._tell(outcome_of(self.reject, requeue))

    def _tell(self, outcome):
        # What is raised is not always one of the errors: if the connection
        # was lost, an AttributeError may be.
        if outcome.failed:
            self.lost.say(
                'a message cannot be acknowledged, and may come again: %s',
                outcome.errorClass)


def made_anew(message, address, first=False):
    """Return a Message of which Celery can be told.

    It has the address, and of the one that has come nothing but what is
    needed to acknowledge that, and the name of the function.  Time limits,
    times, callbacks, chains, priorities and the id are not those of who has
    sent it.

    first -- see `is_first`.
    """
    id = str(uuid.uuid4())
    if first:
        address = {**address, FIRST: True}
    return Message(
        body=json.dumps([[], address, {}]),
        headers={
            'lang': 'py', 'task': TASK, 'id': id, 'root_id': id,
            'shadow': name_in(message),
            'argsrepr': '()', 'kwargsrepr': repr(address),
            'ignore_result': True, 'retries': 0},
        content_type=JSON, content_encoding='utf-8',
        delivery_tag=message.delivery_tag, channel=message.channel,
        accept={JSON})
