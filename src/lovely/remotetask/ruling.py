"""What a policy says of a job, whatever class it is of.

A subclass of Policy that was stored may fail, or answer what makes no sense.
Its jobs could never be settled then, and would hold up the others.
"""

import functools
from collections.abc import Callable
from typing import Any

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.number import check_seconds
from lovely.remotetask.number import check_time
from lovely.remotetask.policy import Policy


log = journal(__name__)


def ruled(policy: Policy, rule: str, *args: Any) -> Any:
    """Return what a policy says; if it fails, what Policy says then.

    rule -- the name of a method of Policy; called with the arguments.
    """
    answer = outcome_of(_answer, policy, rule, args)
    if not answer.failed:
        return answer.value
    _warn(f'{type(policy).__qualname__}.{rule}', answer.errorClass,
          answer.place)
    if answer.exception is not None:
        let_go(answer.exception)
    return getattr(Policy, rule)(policy, *args)


def _answer(policy: Policy, rule: str, args: tuple[Any, ...]) -> Any:
    return ANSWERS[rule](getattr(policy, rule)(*args))


@functools.lru_cache(maxsize=1000)
def _warn(rule: str, reason: str, place: str) -> None:
    # The cache remembers what was said, so that it is said once.
    log.warning(
        '%s fails, or says what makes no sense (%s at %s); the rule of Policy '
        'is followed instead', rule, reason, place)


def _time_or_never(answer: object) -> float | None:
    return None if answer is None else check_time(answer)


def _retention(answer: object) -> float:
    return check_seconds('retention', answer)


# What checks the answer of each rule: called with it, returns it as it is to
# be used, or raises ValueError.
ANSWERS: dict[str, Callable[[Any], Any]] = {
    'due_after_failure': _time_or_never,
    'due_after_loss': _time_or_never,
    'due_after_interruption': check_time,
    'excuses': bool,
    'retention_of': _retention,
}
