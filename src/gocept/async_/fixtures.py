"""Fixtures for pytest, around the layer of an application.

In conftest.py::

    from gocept.async_ import fixtures
    from shop.testing import SHOP_LAYER

    globals().update(fixtures.create(SHOP_LAYER))

Needs zope.pytestlayer, which the extra `testing` brings.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import zope.dottedname.resolve
import zope.pytestlayer.fixture
from zope.pytestlayer.fixture import LAYERS

from gocept.async_ import testing
from gocept.async_.enqueued import EnqueuedJobs


# By layer: what zope.pytestlayer has made of it.
_found: dict[Any, dict[str, Any]] = {}


def create(layer: Any) -> dict[str, Any]:
    """Return fixtures by their names, for the namespace of a conftest.py.

    layer -- a layer with `getRootFolder`, a BrowserLayer say; or its dotted
        name.

    These are `async_services`, see AsyncServices, and those that
    zope.pytestlayer makes of the layer, which is set up once in a session.
    """
    if isinstance(layer, str):
        layer = zope.dottedname.resolve.resolve(layer)
    if not getattr(layer, 'allowTearDown', True):
        raise TypeError(
            f'pytest tears layers down, and {layer.__name__} does not allow '
            f'it; make it with allowTearDown=True.')
    # zope.pytestlayer makes them once, and several conftest.py may want them.
    found = _found.setdefault(layer, zope.pytestlayer.fixture.create(layer))
    sessions = {LAYERS[each]['session']: _session_of(each)
                for each in _layers(layer)}

    @pytest.fixture(name='async_services')
    def async_services(request: Any) -> Iterator[AsyncServices]:
        """The task services of an application; see AsyncServices."""
        # Somebody else may have named them.
        for scope in ('session', 'function'):
            request.getfixturevalue(LAYERS[layer][scope])
        root = layer.getRootFolder()
        with testing.entered(root):
            yield AsyncServices(root)
    return {**found, **sessions, 'async_services': async_services}


def _layers(layer: Any) -> Iterator[Any]:
    """Yield a layer and its bases."""
    if layer is not object:
        yield layer
        for base in layer.__bases__:
            yield from _layers(base)


def _session_of(layer: Any) -> Any:
    """Return a fixture: the layer is there until the end of the session.

    Unlike that of zope.pytestlayer it can be there several times, and the
    class of a test may have set the layer up before.
    """
    @pytest.fixture(scope='session', name=LAYERS[layer]['session'])
    def session(request: Any) -> Iterator[Any]:
        for base in layer.__bases__:
            if base is not object:
                request.getfixturevalue(LAYERS[base]['session'])
        state = request.session.zopelayer_state
        state.keep_for_whole_session.add(layer)
        if layer not in state.current:
            zope.pytestlayer.fixture.setup_layer(layer, request)
        yield layer
        if layer in state.current:
            zope.pytestlayer.fixture.teardown_layer(layer, request)
    return session


class AsyncServices:
    """The task services of an application, in one test.

    The root folder is the current site, and nobody is logged in.

    root -- the root folder.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self._enqueued = EnqueuedJobs(root)

    # See gocept.async_.testing.
    process = staticmethod(testing.process)
    login = staticmethod(testing.login)
    logout = staticmethod(testing.logout)

    def enqueued(self, function: Any = None) -> list[Any]:
        """Return the jobs that the test has enqueued, in their order.

        function -- a decorated function, or the name of a task: only those
            that call it.

        A list of IJob.  Also those that have ended; not those of a
        transaction that was aborted.
        """
        return self._enqueued.jobs(function)

    def assert_enqueued(self, function: Any, /, *args: Any,
                        **kwargs: Any) -> Any:
        """Return the job that calls a function with these arguments.

        function -- a decorated function; or the name of a task, with its
            input.

        The first one of several.  Raise AssertionError, which tells what was
        enqueued, if there is none.
        """
        __tracebackhide__ = True
        return self._enqueued.find(function, args, kwargs)

    def assert_not_enqueued(self, function: Any = None) -> None:
        """Raise AssertionError if a function was enqueued, or anything."""
        __tracebackhide__ = True
        self._enqueued.check_none(function)
