"""The command ``async-demo``."""

import argparse
import contextlib
import importlib.util
import signal
import socket
import sys
from pathlib import Path

import zc.lockfile

from gocept.async_.demo.application import opened
from gocept.async_.demo.check import check
from gocept.async_.worker.wakeup import Wakeup


# Names and passwords.
LOGINS = 'alice/alice', 'bob/bob', 'manager/manager'

# What stops the demo.
SIGNALS = signal.SIGTERM, signal.SIGINT

USERS = f'log in as {", ".join(LOGINS[:-1])} or {LOGINS[-1]}'


def main(args=None):
    """Run the command; its exit code is that of the process."""
    options = _parser().parse_args(args)
    _require_waitress()
    if options.check:
        _exit_on_signals()
        check()
    else:
        stopping = Wakeup()
        stopping.catch(*SIGNALS)
        serve(options.host, options.port, options.var, stopping)


def serve(host, port, var, stopping):
    """Serve the demo until a signal has arrived.

    stopping -- a Wakeup that catches the signals.
    """
    # Waitress comes with the extra; without it `main` has said so before.
    import waitress

    from gocept.async_.demo.ending import Ending

    with _listening(host, port) as listener, _opened(var) as application:
        channels = {}
        server = waitress.create_server(
            application, channels, sockets=[listener])
        Ending(stopping, channels)
        print(f'async-demo: {_url(listener)} ({USERS}); '
              f'stop it with Ctrl-C', flush=True)
        # Returns after SystemExit, when requests that are under way have been
        # answered.
        server.run()


def _parser():
    parser = argparse.ArgumentParser(
        prog='async-demo',
        description='A web application that shows asynchronous functions.')
    parser.add_argument(
        '--host', type=_host, default='127.0.0.1',
        help='address to listen on (default: %(default)s)')
    parser.add_argument(
        '--port', type=int, default=8080,
        help='0 takes a free one (default: %(default)s)')
    parser.add_argument(
        '--var', type=Path, default=Path('var'), metavar='DIR',
        help='folder for demo.conf, demo.fs and demo.log, the log '
             '(default: ./var)')
    parser.add_argument(
        '--check', action='store_true',
        help='start it in a temporary folder, use it over HTTP, stop it')
    return parser


def _host(text):
    # As a socket does it; what this raises is a ValueError for argparse.
    text.encode('idna')
    return text


# argparse names the type by this when it refuses a value.
_host.__name__ = 'host'


def _require_waitress():
    if importlib.util.find_spec('waitress') is None:
        _fail('there is no web server; pip install "gocept.async[demo]"')


def _fail(message):
    sys.exit(f'async-demo: {message}.')


def _reason(error):
    # create_server adds the address, in parentheses.
    text = getattr(error, 'strerror', None) or str(error)
    return text.partition(' (')[0]


def _exit_on_signals():
    def leave(number, frame):
        # Only once: the way out is not to be interrupted.
        _set_signals(signal.SIG_IGN)
        # Interrupted, nothing has been found to be in order.
        sys.exit(1)

    _set_signals(leave)


def _set_signals(handler):
    for number in SIGNALS:
        signal.signal(number, handler)


@contextlib.contextmanager
def _listening(host, port):
    """Provide a listening socket; before anything else is started."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        _fail(f'cannot listen on {host}, port {port}: {_reason(error)}; '
              f'choose another one with --port or --host')
    with listener:
        yield listener


def _url(listener):
    host, port, *_ = listener.getsockname()
    return f'http://[{host}]:{port}/' if ':' in host \
        else f'http://{host}:{port}/'


@contextlib.contextmanager
def _opened(var):
    with contextlib.ExitStack() as stack:
        try:
            application = stack.enter_context(opened(var))
        except zc.lockfile.LockError:
            _fail(f'the database in {var} is in use by another process; '
                  f'stop that one or choose another folder with --var')
        except OSError as error:
            _fail(f'cannot use the folder {var}: {_reason(error)}; '
                  f'choose another one with --var')
        yield application


if __name__ == '__main__':
    main()
