"""Arguments and results, for people; no code of theirs is called."""

import reprlib
from typing import Any

import persistent

from lovely.remotetask.foreign import record
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.job import is_call


# What is shown of an argument at most, in characters.
SIZE = 200


class _Repr(reprlib.Repr):
    """Shows plain values; of objects the class alone."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = SIZE

    def repr_instance(self, value: Any, level: int) -> str:
        class_ = type(value)
        name = getattr(class_, 'stands_for', None)
        if name is not None:
            return f'<{".".join(name)}>'
        if class_.__module__ == record.__name__:
            # A persistent object has a record of its own.
            return '<persistent object>'
        return super().repr_instance(value, level)


_show = _Repr().repr


def arguments_of(job: Any) -> list[str] | None:
    """Return the arguments of a stored call, or the input, as texts.

    None if they cannot be read.
    """
    found = outcome_of(_read, job)
    return None if found.failed else found.value


def result_of(job: Any) -> str | None:
    """Return the result of a job as a text.

    None if there is none, or it cannot be read.
    """
    stored = vars(job).get('output')
    return None if stored is None else outcome_of(_show_value, stored).value


def _show_value(stored: Any) -> str:
    """Return a text for what a job stores of an input or a result."""
    if not isinstance(stored, persistent.Persistent):
        return _show(stored)
    return _show(record.state(stored).get('value'))


def _read(job: Any) -> list[str]:
    stored = vars(job).get('input')
    if not is_call(stored):
        return [] if stored is None else [_show_value(stored)]
    # Its state, with stand-ins in place of the application's objects.
    state = record.state(stored)
    return [*map(_show, state['args']),
            *(f'{name}={_show(value)}'
              for name, value in state.get('kwargs', {}).items())]
