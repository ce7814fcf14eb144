"""Traces that go on in jobs: OpenTelemetry, where an application uses that.

Nothing is imported here.  Whoever wants to have traces has imported
``opentelemetry.trace`` before, and has set up who takes them; where that was
not done there is neither a trace to be stored with a job nor a tracer that
would take its span.

A span tells of service, function and attempt, and of the class of an
exception; never of arguments, nor of a message, which may hold some.
"""

import re
import sys
from typing import Any

from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of


log = journal(__name__)

# W3C Trace Context, version 00.
TRACEPARENT = re.compile('00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})')

TRACER = 'gocept.async'


def _api() -> Any:
    """Return ``opentelemetry.trace``, None if nobody here uses it."""
    return sys.modules.get('opentelemetry.trace')


def current() -> str | None:
    """Return the traceparent of the span that is active, None if none is."""
    api = _api()
    return None if api is None else _value(_current, api)


def _current(api: Any) -> str | None:
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return _checked(f'00-{context.trace_id:032x}-{context.span_id:016x}-'
                    f'{int(context.trace_flags):02x}')


def _checked(stored: Any) -> str | None:
    """Return a traceparent; None for anything else, whoever has stored it."""
    if type(stored) is not str:
        return None
    match = TRACEPARENT.fullmatch(stored)
    if match is None or not (int(match[1], 16) and int(match[2], 16)):
        return None
    return stored


def _value(call: Any, *args: Any) -> Any:
    """Return what a call of OpenTelemetry returns; None if it fails.

    It is foreign code; no job may fail for it.
    """
    found = outcome_of(call, *args)
    if found.exception is not None:
        log.debug('tracing: %s at %s', found.errorClass, found.place)
        let_go(found.exception)
    return found.value


class Span:
    """A context manager: the span of one run of a job.

    service, function -- str, their names.
    run -- job.Run.
    traceparent -- what `current` has returned when the job was added.
    recurring -- whether the job runs again and again: then each run begins a
        trace of its own, and only refers to that in which it was added.
    """

    def __init__(self, service: Any, function: Any, run: Any,
                 traceparent: Any, recurring: bool) -> None:
        self._span: Any = None
        self._active: Any = None
        api = _api()
        if api is not None:
            self._span = _value(
                _started, api, plain(str(service), 500),
                plain(str(function), 500), run.claim, traceparent, recurring)
        self._api = api

    def __enter__(self) -> None:
        if self._span is None:
            return
        made = _value(_used, self._api, self._span)
        if made is not None:
            _value(made.__enter__)
            self._active = made

    def __exit__(self, class_: Any, exception: Any, traceback: Any) -> None:
        if self._span is None:
            return
        if class_ is not None:
            _value(_mark_failed, self._api, self._span, class_)
        if self._active is not None:
            _value(self._active.__exit__, None, None, None)
        _value(self._span.end)


def _started(api: Any, service: str, function: str, claim: Any,
             traceparent: Any, recurring: bool) -> Any:
    caller = _context(api, traceparent)
    # Whatever is active in this thread has nothing to do with the job.
    parent = api.set_span_in_context(
        api.NonRecordingSpan(api.INVALID_SPAN_CONTEXT if recurring
                             or caller is None else caller))
    links = [api.Link(caller)] if recurring and caller is not None else []
    return api.get_tracer(TRACER).start_span(
        f'run {function}', context=parent, kind=api.SpanKind.CONSUMER,
        links=links, attributes={
            'gocept.async.service': service,
            'gocept.async.function': function,
            'gocept.async.job': claim.job,
            'gocept.async.attempt': claim.attempt})


def _context(api: Any, traceparent: Any) -> Any:
    found = _checked(traceparent)
    if found is None:
        return None
    _, trace, span, flags = found.split('-')
    return api.SpanContext(
        int(trace, 16), int(span, 16), is_remote=True,
        trace_flags=api.TraceFlags(int(flags, 16)))


def _used(api: Any, span: Any) -> Any:
    # The message of an exception may hold arguments.
    return api.use_span(span, end_on_exit=False, record_exception=False,
                        set_status_on_exception=False)


def _mark_failed(api: Any, span: Any, class_: type) -> None:
    span.set_attribute(
        'error.type', plain(f'{class_.__module__}.{class_.__qualname__}', 500))
    span.set_status(api.StatusCode.ERROR)
