"""Results that cannot be stored, or not be read back."""

import enum
import sys
import threading
import types

import transaction
from zope.security.checker import NamesChecker
from zope.security.proxy import ProxyFactory

from gocept.async_.tests.hostile.kinds import kind
from gocept.async_.tests.sample import Content
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR


class PaymentFailed(Exception):
    """Can be pickled, but not read back: it asks for two arguments."""

    def __init__(self, order, reason):
        super().__init__(f'{order}: {reason}')


def break_down(*args):
    raise ZeroDivisionError('when it is read')


def leave(*args):
    sys.exit('when it is read')


class Reduced:
    """Is pickled as a call."""

    def __init__(self, *reduced):
        self._reduced = reduced

    def __reduce__(self):
        return self._reduced


class ReduceExits:
    """Ends who pickles it."""

    def __reduce__(self):
        sys.exit('when it is stored')


class ReduceCommits:
    """Commits while it is pickled."""

    def __reduce__(self):
        transaction.commit()
        return int, ()


class StateFails:
    """Can be pickled; its state cannot be set."""

    value = 1

    def __init__(self):
        self.value = 2

    def __setstate__(self, state):
        raise AttributeError('state')


class Incomparable:
    """Cannot be compared, printed, or be true; can be stored."""

    def _fail(self, *args):
        raise ValueError('ambiguous')

    __eq__ = __bool__ = __repr__ = __len__ = _fail
    __hash__ = None


@kind()
def result_lambda(call):
    return lambda: 1


@kind()
def result_generator(call):
    return (number for number in range(3))


@kind()
def result_lock(call):
    return {'lock': threading.Lock()}


@kind()
def result_file(call):
    return open('/dev/null')  # noqa: SIM115


@kind()
def result_proxy(call):
    return ProxyFactory([1], NamesChecker(()))


@kind()
def result_proxy_of_content(call):
    return ProxyFactory(call.root, NamesChecker(()))


@kind()
def result_connection(call):
    return call.root._p_jar


@kind(most=1)
def result_of_20_megabytes(call):
    return b'x' * 20_000_000


@kind()
def result_exception(call):
    return [PaymentFailed(7, 'card')]


@kind()
def result_breaks_when_read(call):
    return Reduced(break_down, ())


@kind()
def result_exits_when_read(call):
    return Reduced(leave, ())


@kind()
def result_exits_when_stored(call):
    return ReduceExits()


@kind()
def result_commits_when_stored(call):
    return ReduceCommits()


@kind()
def result_state_fails(call):
    return StateFails()


@kind()
def result_deep(call):
    result = []
    for _ in range(100_000):
        result = [result]
    return result


@kind()
def result_reduce_recurses(call):
    class Endless:
        def __reduce__(self):
            return self.__reduce__()
    return Endless()


@kind(COMPLETED)
def result_recursive(call):
    result = []
    result.append(result)
    return result


@kind(COMPLETED)
def result_incomparable(call):
    return Incomparable()


@kind(COMPLETED)
def result_site(call):
    return call.root


@kind(COMPLETED)
def result_own_job(call):
    return call.service.jobs[call.jobid]


@kind(COMPLETED)
def result_new_content(call):
    return [Content() for _ in range(100)]


@kind(ERROR, COMPLETED)
def result_surrogates(call):
    return {'caf\udce9': '\ud800\x00'}


@kind(ERROR, COMPLETED)
def result_of_passing_class(call):
    """Its class is in no module that another process finds."""
    name = 'hostile_passing'
    module = sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(module, 'Level'):
        module.Level = enum.Enum('Level', 'LOW HIGH', module=name)
    return [module.Level.HIGH]


@kind(ERROR, COMPLETED)
def result_of_passing_function(call):
    """It is read back by a call of what no other process finds."""
    name = 'hostile_passing_function'
    module = sys.modules.setdefault(name, types.ModuleType(name))
    exec('def make(*args): return 5', vars(module))
    return Reduced(module.make, (1,))
