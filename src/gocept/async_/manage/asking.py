"""Asking a running application by HTTP: who asks, and what it may answer."""

import http.client
import ipaddress
import json
import netrc
import os
import ssl
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from urllib.parse import SplitResult
from urllib.parse import quote
from urllib.parse import urljoin
from urllib.parse import urlsplit

from gocept.async_.worker.application import Refused
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.outcome import outcome_of


# Where user and password are told; they are part of no command line, which
# everybody on the machine could read.
USER, PASSWORD = 'ASYNC_JOBS_USER', 'ASYNC_JOBS_PASSWORD'

HOW = 'give an address like https://shop.example/@@async/'

# Seconds to wait for an answer, and bytes that it may have.
PATIENCE = 60.0
LONGEST = 2 ** 26

# Characters of a text of the application in a message.
SHORT = 300


class Answer(NamedTuple):
    """What was answered: a code of HTTP, and a JSON object."""

    code: int
    content: dict[str, Any]

    @property
    def detail(self) -> str:
        """What is wrong, as the application says it; on one line."""
        return escaped(str(self.content.get('detail', ''))[:SHORT])


def check_address(address: str) -> str:
    """Return the address of the overview, with a slash at its end.

    Raise ValueError if it is none.  No message has a password in it.
    """
    parsed = outcome_of(_parsed, address)
    if parsed.failed:
        # What is wrong with it may be said with all of it.
        raise ValueError(HOW)
    parts = parsed.value
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise ValueError(HOW)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f'a user and a password are no part of --url; set '
                         f'{USER} and {PASSWORD}, or write a ~/.netrc')
    if parts.query or parts.fragment:
        raise ValueError('an address without "?" and "#" is needed')
    # What a shell gives may have any character.
    path = quote(parts.path.rstrip('/'), safe="/%@+:~!$&'()*,;=")
    return f'{parts.scheme}://{parts.netloc}{path}/'


def _parsed(address: str) -> SplitResult:
    parts = urlsplit(address)
    # This raises ValueError for a port that is none.
    _ = parts.port
    return parts


def credentials(address: str, environment: Mapping[str, str]) -> str | None:
    """Return what to send as Authorization; None: nobody is told.

    By the environment; else by the file that NETRC names, or ~/.netrc.

    Raise Refused if that cannot be read.
    """
    user = environment.get(USER)
    if user is not None:
        return _basic(user, environment.get(PASSWORD, ''))
    path = environment.get('NETRC')
    try:
        found = netrc.netrc(path).authenticators(
            urlsplit(address).hostname or '')
    except FileNotFoundError as error:
        if path is None:
            return None
        raise Refused(f'{path}: {error.strerror} (NETRC)') from error
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        # The line itself may be the password.
        why = ('others may read it' if 'permissive' in str(error)
               else type(error).__name__)
        raise Refused(f'{path or "~/.netrc"} cannot be used: {why}; correct '
                      f'it, or set {USER} and {PASSWORD}') from error
    return None if found is None else _basic(found[0], found[2] or '')


def _basic(user: str, password: str) -> str:
    pair = f'{user}:{password}'.encode('utf-8', 'surrogateescape')
    return f'Basic {b64encode(pair).decode()}'


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the password is for the address that was given."""

    def redirect_request(self, *args: Any, **kw: Any) -> None:
        """See HTTPRedirectHandler."""


def _is_loopback(host: str) -> bool:
    found = outcome_of(ipaddress.ip_address, host)
    return host == 'localhost' or not found.failed and (
        found.value.is_loopback)


class Client:
    """Asks the pages of an application for JSON.

    address -- see `check_address`.
    authorization -- see `credentials`.

    The certificate of a server is verified, by the authorities that the
    system trusts, or those in the file that SSL_CERT_FILE names.
    """

    def __init__(self, address: str, authorization: str | None) -> None:
        self.address = address
        self._authorization = authorization
        parts = urlsplit(address)
        handlers: list[Any] = [_NoRedirects]
        if parts.scheme == 'https':
            # All authorities are read for that.
            handlers.append(urllib.request.HTTPSHandler(
                context=ssl.create_default_context()))
        if _is_loopback(parts.hostname or ''):
            # No proxy could reach this machine's own addresses.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Answer:
        """Return what is answered to a question.

        path -- below the overview.
        """
        return self._answer(path, None)

    def post(self, path: str, content: dict[str, Any]) -> Answer:
        """Send a JSON object; return what is answered."""
        return self._answer(path, json.dumps(content).encode())

    def _answer(self, path: str, body: bytes | None) -> Answer:
        headers = {'Accept': 'application/json'}
        if body is not None:
            headers['Content-Type'] = 'application/json'
        if self._authorization is not None:
            headers['Authorization'] = self._authorization
        address = f'{self.address}{path}'
        code, head, content = self.send(urllib.request.Request(
            address, body, headers, method='GET' if body is None else 'POST'))
        self._check(code, head, address)
        found = outcome_of(json.loads, content)
        if not isinstance(found.value, dict):
            raise Refused(f'{self.address} answers no JSON ({_said(code)}); '
                          f'is that the address of the management pages?')
        answer = Answer(code, found.value)
        if code in (401, 403) or code >= 500:
            raise Refused(f'{self.address}: {_said(code)}: {answer.detail}'
                          f'{_advice(code, self._authorization)}')
        return answer

    def _check(self, code: int, head: Any, address: str) -> None:
        if 300 <= code < 400:
            target = urljoin(address, head.get('Location', ''))
            raise Refused(f'{self.address} leads to '
                          f'{escaped(target[:SHORT])}; give that address, if '
                          f'you trust it')

    def send(self, request: urllib.request.Request) -> tuple[
            int, Any, bytes]:
        """Return the code, the headers and the content of an answer.

        Raise Refused if there is none.
        """
        try:
            with self._opener.open(request, timeout=PATIENCE) as response:
                return response.status, response.headers, _read(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, _read(error)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, 'reason', None) or error
            raise Refused(f'{self.address} does not answer: '
                          f'{escaped(str(reason)[:SHORT])}') from error


def _read(response: Any) -> bytes:
    found = response.read(LONGEST + 1)
    if len(found) > LONGEST:
        raise Refused('the answer is too long to be one')
    return bytes(found)


def _said(code: int) -> str:
    known = {status.value: status.phrase for status in http.HTTPStatus}
    return f'{code} {known.get(code, "")}'.strip()


def _advice(code: int, authorization: str | None) -> str:
    if code != 401:
        return ''
    return (f' (set {USER} and {PASSWORD}, or write a ~/.netrc)'
            if authorization is None else
            ' (user and password are not right)')


def opened(address: str) -> Client:
    """Return a Client for an address, with who asks by the environment."""
    found = credentials(address, os.environ)
    parts = urlsplit(address)
    if (found is not None and parts.scheme == 'http'
            and not _is_loopback(parts.hostname or '')):
        print(f'async-jobs: the password is sent in the clear to {address}; '
              f'use https', file=sys.stderr)
    return Client(address, found)
