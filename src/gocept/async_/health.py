"""Show from outside how a worker does: a file's age, an HTTP answer."""

import http.server
import json
import pathlib
import socket
import socketserver
import threading


# Seconds that a client may take.
PATIENCE = 5.0


class HeartbeatFile:
    """A file that is touched while all is well.

    path -- str.
    """

    def __init__(self, path):
        self._path = pathlib.Path(path)

    def beat(self):
        """Set the time of the last change to now."""
        self._path.touch()


class _Handler(http.server.BaseHTTPRequestHandler):

    timeout = PATIENCE
    server_version = 'async-worker'
    sys_version = ''

    def do_GET(self):
        status = self.server.status()
        well = {'/': status['ready'], '/ready': status['ready'],
                '/live': status['live']}.get(self.path)
        if well is None:
            self._answer(404, {'error': 'choose /ready or /live'})
        else:
            self._answer(200 if well else 503, status)

    def _answer(self, code, content):
        body = json.dumps(content, indent=1).encode() + b'\n'
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Say nothing: there are many of these requests."""


class _Server(http.server.ThreadingHTTPServer):

    daemon_threads = True
    def __init__(self, host, port, status):
        self.address_family = \
            socket.AF_INET6 if ':' in host else socket.AF_INET
        self.status = status
        super().__init__((host, port), _Handler)

    def server_bind(self):
        # That of HTTPServer asks the name service for the host's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def parse_address(text):
    """Return host and port of ``PORT`` or ``HOST:PORT``; or ValueError."""
    host, _, port = text.rpartition(':')
    number = int(port)
    if not 0 <= number < 2 ** 16:
        raise ValueError(f'There is no port {number}.')
    return host.strip('[]') or '127.0.0.1', number


def serve(host, port, status):
    """Answer HTTP requests in a thread.  Return the server.

    status -- called without arguments in that thread, returns a dict with
        `ready` and `live`.

    Raise OSError if the address cannot be used.
    """
    server = _Server(host, port, status)
    threading.Thread(
        target=server.serve_forever, name='health', daemon=True).start()
    return server
