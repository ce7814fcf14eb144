"""The WSGI application, from configuration to the closed database."""

import contextlib
import string
import sys
import time
from importlib import resources
from pathlib import Path

from zope.app.wsgi import getWSGIApplication

from lovely.remotetask.processor import stop_all
from lovely.remotetask.startup import openedDatabase


# The cookie by which a request that changed something tells the next page
# how many milliseconds it took.
TOOK = 'took'

# Seconds that running computations have to finish when the demo ends.  One
# that takes longer is run again from its beginning after the next start.
GRACE = 1.0

# Seconds for which what was cut off has the interpreter at a time.
SHARE = 0.0001


@contextlib.contextmanager
def opened(var):
    """Provide the WSGI application on the data in a folder.

    var -- Path of the folder; made if it does not exist.

    Raise OSError or zc.lockfile.LockError if the folder cannot be used.
    """
    configuration = write_configuration(var)
    try:
        # Fires the events that create the service and start its processor.
        yield timed(getWSGIApplication(str(configuration)))
    finally:
        # In this order: what still runs needs the database.
        stop_all(GRACE)
        # A computation that was cut off goes on until the process has ended.
        # Whenever this thread gives the interpreter away, it would have it
        # for 5 ms.
        sys.setswitchinterval(SHARE)
        db = openedDatabase()
        if db is not None:
            db.close()


def write_configuration(var):
    """Write demo.conf into the folder.  Return its Path.

    An application of somebody else may have its files there: none of the
    demo's has a name that is usual.
    """
    var.mkdir(parents=True, exist_ok=True)
    here = resources.files(__package__)
    template = string.Template(here.joinpath('zope.conf').read_text('utf-8'))
    written = Path(var, 'demo.conf').resolve()
    written.write_text(template.substitute(
        var=_quoted(written.parent),
        site=_quoted(here.joinpath('site.zcml'))), 'utf-8')
    return written


def _quoted(path):
    # In a zope.conf a dollar begins a reference.
    return str(path).replace('$', '$$')


def timed(application):
    """Return the application, with the duration of what it redirects.

    Only out here is the commit part of the duration.
    """
    def timing(environ, start_response):
        began = time.perf_counter()

        def start(status, headers, *args):
            if status.startswith('303'):
                took = round((time.perf_counter() - began) * 1000)
                headers = [*headers, ('Set-Cookie', (
                    f'{TOOK}={took}; Path=/; Max-Age=10; HttpOnly; '
                    f'SameSite=Strict'))]
            return start_response(status, headers, *args)

        return application(environ, start)

    return timing
