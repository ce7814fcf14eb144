"""An application server with the pages, on a free port of the loopback."""

import contextlib
import tempfile
import threading
from pathlib import Path
from unittest import mock

import transaction
import waitress
import webtest
import zope.component
import zope.component.hooks
from ZODB.mvccadapter import MVCCAdapterInstance
from zope.app.wsgi import getWSGIApplication

from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import openedDatabase
from lovely.remotetask.storage.store import JobStore


CONFIGURATION = '''
site-definition {zcml}
<zodb>
  <filestorage>
    path {folder}/Data.fs
  </filestorage>
</zodb>
<eventlog>
  <logfile>
    path {folder}/event.log
  </logfile>
</eventlog>
'''


class Server:
    """Serves a WSGI application in a thread, until it is stopped."""

    def __init__(self, application, port=0):
        self._server = waitress.create_server(
            application, host='127.0.0.1', port=port, threads=4)
        self.port = self._server.effective_port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        # Its sockets are closed while it looks at them.
        with contextlib.suppress(OSError):
            self._server.run()

    @property
    def url(self):
        """The address of the root folder, without a slash at its end."""
        return f'http://127.0.0.1:{self.port}'

    def stop(self):
        """Answer no more."""
        self._server.close()
        self._server.task_dispatcher.shutdown(timeout=5)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.asyncore.close_all(self._server._map)
        self._thread.join(10)


class Stage:
    """The application and its data; `server` answers for it.

    folder -- where the data are; default: none are there yet, and none are
        left.
    port -- of the server, a free one by default.
    """

    def __init__(self, zcml='pages.zcml', folder=None, port=0):
        self._stack = contextlib.ExitStack()
        folder = folder or self._stack.enter_context(
            tempfile.TemporaryDirectory())
        zcml = Path(__file__).parent.parent / zcml
        configuration = Path(folder, 'zope.conf')
        configuration.write_text(CONFIGURATION.format(
            zcml=zcml, folder=folder), 'utf-8')
        self.application = getWSGIApplication(str(configuration))
        self.db = openedDatabase()
        self._stack.callback(self.db.close)
        self.server = Server(self.application, port)

    _shared = None

    @classmethod
    def shared(cls):
        """Return the one of this process: ZCML is executed once."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    @classmethod
    def end_shared(cls):
        """End it."""
        if cls._shared is not None:
            cls._shared.close()
            cls._shared = None

    def clear(self):
        """Begin with a service that has no jobs."""
        with self.service() as service:
            service._store = JobStore(service)
            service.paused = False

    def loads(self, path):
        """Return how many bytes each object has that a page loads.

        With nothing in a cache.
        """
        sizes = []
        load = MVCCAdapterInstance.load

        def counted(storage, oid):
            found = load(storage, oid)
            sizes.append(len(found[0]))
            return found

        self.db.cacheMinimize()
        request = webtest.TestApp(self.application)
        request.authorization = 'Basic', ('manager', 'manager')
        with mock.patch.object(MVCCAdapterInstance, 'load', counted):
            request.get(f'/@@async/{path}')
        return sizes

    def start(self, port):
        """Answer again, at the same address."""
        self.server = Server(self.application, port)

    def close(self):
        """End everything."""
        self.server.stop()
        self._stack.close()

    @contextlib.contextmanager
    def site(self):
        """Be in the root folder, in a transaction that is committed."""
        transaction.begin()
        connection = self.db.open()
        root = server().root(connection)
        zope.component.hooks.setSite(root)
        try:
            yield root
            transaction.commit()
        finally:
            transaction.abort()
            zope.component.hooks.setSite(None)
            connection.close()

    @contextlib.contextmanager
    def service(self, name='events'):
        """Have a service, in a transaction that is committed."""
        with self.site():
            yield zope.component.getUtility(ITaskService, name)
