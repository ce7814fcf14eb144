"""The style sheet and the script, under addresses that say their version."""

import functools
import hashlib
from importlib import resources

import zope.interface
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.checker import NamesChecker


# No service can be reached by such a name.
FOLDER = '+static'

TYPES = {'pages.css': 'text/css;charset=utf-8', **dict.fromkeys(
    ('pages.js', 'page.js', 'times.js', 'patch.js', 'live.js', 'bulk.js'),
    'text/javascript;charset=utf-8')}

YEAR = 365 * 24 * 3600


@functools.cache
def _bytes(name):
    return resources.files(__package__).joinpath('static', name).read_bytes()


@functools.cache
def _version():
    # One for all: a script names others, which are beside it.
    return hashlib.sha256(b''.join(map(_bytes, TYPES))).hexdigest()[:12]


def address(name):
    """Return where a file is, below the pages: another one for each version.
    """
    return f'{FOLDER}/{_version()}/{name}'


@zope.interface.implementer(IBrowserPublisher)
class Assets:
    """The folder, and the files in it; anybody may have them."""

    __Security_checker__ = NamesChecker(
        ('__call__', 'browserDefault', 'publishTraverse'))

    def __init__(self, context, request, path=()):
        self.context = self.__parent__ = context
        self.request = request
        self.path = path

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self, ()

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        if len(self.path) < 2:
            return Assets(self.context, request, (*self.path, name))
        raise NotFound(self.context, name, request)

    def __call__(self):
        if len(self.path) != 2 or self.path[1] not in TYPES:
            raise NotFound(self.context, FOLDER, self.request)
        name = self.path[1]
        set_header = self.request.response.setHeader
        set_header('Content-Type', TYPES[name])
        set_header('X-Content-Type-Options', 'nosniff')
        # While versions are changed, a page of one process may ask another.
        set_header('Cache-Control', f'public, max-age={YEAR}, immutable'
                   if address(name) == '/'.join((FOLDER, *self.path))
                   else 'no-store')
        return _bytes(name)
