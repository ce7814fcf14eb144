"""Show from outside how a worker does: a file's age, an HTTP answer."""

import asyncio
import contextlib
import http
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from gocept.async_ import openmetrics
from gocept.async_.worker.ownfile import check_own
from gocept.async_.worker.ownfile import open_own
from lovely.remotetask.foreign.outcome import outcome_of


# Seconds that a client may take, from its connection to the last byte.
PATIENCE = 5.0

# Bytes that a request may have.
LONGEST = 8192

# How many clients are listened to.  One more, and that which came first goes:
# those who are slow keep nobody out.
CLIENTS = 50


# What tells how the worker does, see Server.
Status = Callable[[], dict[str, Any]]

# What returns the metrics in a content type; see Server.
Metrics = Callable[[str], bytes]


class HeartbeatFile:
    """A file that is touched while all is well.

    path -- str.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def check(self) -> None:
        """Raise ownfile.NotOurs if something else has the path."""
        check_own(self._path)

    def beat(self) -> None:
        """Set the time of the last change to now; OSError if that fails."""
        descriptor = open_own(self._path, os.O_RDONLY)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


class Server:
    """Answers HTTP requests, all in one thread.

    status -- called in that thread, returns a dict with `ready` and `live`.
    metrics -- called in that thread with a content type, returns what
        /metrics is answered with.

    Raise OSError if the address cannot be used.
    """

    def __init__(self, host: str, port: int, status: Status,
                 metrics: Metrics | None = None) -> None:
        self._status = status
        self._metrics = metrics
        self._tasks: dict[asyncio.Task, asyncio.StreamWriter] = {}
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self._socket = socket.create_server(
            (host, port), family=family, backlog=CLIENTS)
        self.server_port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        # The usual handler would log each client that goes away, and each
        # second without a descriptor.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._loop.run_until_complete(asyncio.start_server(
            self._serve, sock=self._socket, limit=LONGEST))
        self._thread = threading.Thread(
            target=self._loop.run_forever, name='health', daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader,
                     writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        if len(self._tasks) > CLIENTS:
            self._leave(next(iter(self._tasks)))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answer(reader, writer)
        except OSError:
            # The client is gone, or too slow: TimeoutError is an OSError, too.
            pass
        finally:
            self._tasks.pop(task, None)
            writer.transport.abort()

    def _leave(self, task: asyncio.Task) -> None:
        """Disconnect a client at once."""
        # Many may come before the task runs again: it would be chosen for
        # each of them.
        writer = self._tasks.pop(task)
        task.cancel()
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader,
                      writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b'\r\n\r\n')
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            request = b''
        writer.write(answer(request, self._status, self._metrics))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def shutdown(self) -> None:
        """Answer nobody any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    def server_close(self) -> None:
        """Give up the address, after `shutdown`."""
        for writer in self._tasks.values():
            writer.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._socket.close()


def answer(request: bytes, status: Status,
           metrics: Metrics | None = None) -> bytes:
    """Return the bytes that answer an HTTP request.

    request -- bytes, the head of it.
    status, metrics -- see Server.
    """
    method, path = _parse(request)
    code, kind, body = _answered(
        method, path, _accepted(request), status, metrics)
    head = (
        f'HTTP/1.1 {code} {http.HTTPStatus(code).phrase}\r\n'
        f'Server: async-worker\r\n'
        f'Content-Type: {kind}\r\n'
        f'Content-Length: {len(body)}\r\n'
        f'Cache-Control: no-store\r\n'
        f'Connection: close\r\n\r\n').encode()
    return head if method == 'HEAD' else head + body


def _answered(method: str, path: str, accepted: str, status: Status,
              metrics: Metrics | None) -> tuple[int, str, bytes]:
    """Return the code of an answer, its content type and its content."""
    if method not in ('GET', 'HEAD'):
        return _refused(400, 'send GET /ready, /live or /metrics')
    if path == '/metrics' and metrics is not None:
        if not openmetrics.is_installed():
            return _refused(501, openmetrics.MISSING)
        kind = openmetrics.content_type(accepted)
        made = outcome_of(metrics, kind)
        if made.failed:
            return _refused(503, made.error or '')
        return 200, kind, made.value
    if path not in ('/', '/ready', '/live'):
        return _refused(404, 'choose /ready, /live or /metrics')
    outcome = outcome_of(_judge, path.strip('/') or 'ready', status)
    if outcome.failed:
        return _refused(503, outcome.error or '')
    return _as_json(*outcome.value)


def _refused(code: int, error: str) -> tuple[int, str, bytes]:
    return _as_json(code, {'error': error})


def _as_json(code: int, content: dict[str, Any]) -> tuple[int, str, bytes]:
    return (code, 'application/json',
            json.dumps(content, indent=1).encode() + b'\n')


def _accepted(request: bytes) -> str:
    """Return the header Accept, '' without one."""
    for line in request.split(b'\r\n')[1:]:
        name, _, value = line.partition(b':')
        if name.lower() == b'accept':
            return value.decode('latin-1')
    return ''


def _parse(request: bytes) -> tuple[str, str]:
    """Return method and path, without a query; or two empty texts."""
    line = request.split(b'\r\n', 1)[0].decode('latin-1')
    with contextlib.suppress(ValueError):
        method, target, _ = line.split(' ')
        return method, target.partition('?')[0]
    return '', ''


def _judge(question: str, status: Status) -> tuple[int, dict[str, Any]]:
    found = status()
    return 200 if found[question] else 503, found


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``PORT`` or ``HOST:PORT``; or ValueError."""
    host, _, port = text.rpartition(':')
    number = int(port)
    if not 0 <= number < 2 ** 16:
        raise ValueError(f'There is no port {number}.')
    host = host.strip('[]') or '127.0.0.1'
    # As a socket does it; UnicodeError is a ValueError, too.
    host.encode('idna')
    return host, number


def serve(host: str, port: int, status: Status,
          metrics: Metrics | None = None) -> Server:
    """Answer HTTP requests in a thread.  Return the Server; see there."""
    return Server(host, port, status, metrics)
