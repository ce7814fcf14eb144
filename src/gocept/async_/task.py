"""Stored function calls, and the one task that makes them."""

import contextlib
import functools
import inspect

import persistent
import zope.interface

from gocept.async_ import fit
from gocept.async_ import interfaces
from gocept.async_.argument import has_references
from gocept.async_.database import place
from gocept.async_.lookup import RenamedFunction
from gocept.async_.lookup import current_name
from gocept.async_.lookup import dotted_name
from gocept.async_.lookup import find_function
from gocept.async_.lookup import is_decorated
from gocept.async_.lookup import mark_decorated
from lovely.remotetask.foreign import record
from lovely.remotetask.interfaces import IInputCheck
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskContext
from lovely.remotetask.running.server import server


# Found here by all who do not look for names.
__all__ = ['TASK_NAME', 'AsyncFunction', 'RenamedFunction', 'TaskDescription',
           'current_name', 'dotted_name', 'find_function', 'mark_decorated']

TASK_NAME = 'gocept.async.function'

# What is told of a call without loading it, and how it is stored; see
# `lovely.remotetask.job.is_call`.
STORED_NAMES = {'function_name': '_f', 'principal_id': 'principal'}


class _NoneStored:
    """The keyword arguments of a call that has none; what is stored counts.

    A new dict each time: somebody may change it, or pickle it.
    """

    def __get__(self, description, owner=None):
        return {}


@zope.interface.implementer(interfaces.ITaskDescription)
class TaskDescription(persistent.Persistent):
    """See ITaskDescription.

    The attributes and the name of the class are those of gocept.async 0.3;
    its pickles are read as they are.
    """

    # Its class can be imported wherever jobs are read; see job.wrap.
    canBeReferredTo = True

    # What a call has none of need not be stored.
    site = None
    principal = None
    kwargs = _NoneStored()
    # Opaque, see IApplicationServer.  None: there is only the id, or none.
    principals = None
    # Whether there are References among the arguments.
    refers = False

    def __init__(self, f, args, kwargs):
        self.f = f
        self.args = args
        if kwargs:
            self.kwargs = kwargs
        if has_references(args, kwargs):
            self.refers = True
        self._set_principals(server().principals())
        site = server().site()
        if site is not None:
            self.site = site

    @classmethod
    def declared(cls, f, principal, site):
        """Return a call without arguments that nobody has made.

        principal -- the id of the one as whom it is to be made, or None.
        site -- in which it is to be made, see IApplicationServer.
        """
        made = cls.__new__(cls)
        made.f = f
        made.args = ()
        made.site = site
        if principal is not None:
            made.principal = principal
        return made

    def _set_principals(self, found):
        principal = server().principal_id(found)
        if principal is not None:
            self.principal = principal
        # The usual ones need not be stored.
        if found and found != server().principals_of(self.principal):
            self.principals = found

    def callers(self):
        """Return the principals of the call, see IApplicationServer."""
        if self.principals is not None:
            return self.principals
        return server().principals_of(self.principal)

    @property
    def f(self):
        return find_function(current_name(self._f))

    @f.setter
    def f(self, function):
        self._f = dotted_name(inspect.unwrap(function, stop=is_decorated)
                              if not is_decorated(function)
                              else function.undecorated)

    def __getattribute__(self, name):
        # Any other attribute is found when the object has been loaded; and
        # that may fail, for the arguments may be of classes that are gone.
        if name in STORED_NAMES:
            return _stored(self, STORED_NAMES[name])
        return super().__getattribute__(name)

    @staticmethod
    def get_principal():
        """Return the id of the current principal, or None."""
        return server().principal_id(server().principals())


@zope.interface.implementer(ITask, IInputCheck, ITaskContext)
class AsyncFunction:
    """Makes a stored call: as its principal, in its site."""

    inputSchema = None
    outputSchema = None

    def checkInput(self, input):
        """See IInputCheck."""
        # The class itself: an interface can be declared on anything.
        if type(input) is not TaskDescription:
            raise TypeError(
                f'{TASK_NAME} takes only calls that were stored by a '
                f'decorated function, not {type(input).__name__}.')

    def __call__(self, service, jobid, input):
        """See ITask."""
        with self.context(service, jobid, input) as call:
            return call()

    @contextlib.contextmanager
    def context(self, service, jobid, input):
        """See ITaskContext."""
        self.checkInput(input)
        call = fit.find_call(input, service)
        site = fit.find_site(input, service)
        with server().acting(input.callers(), site, service):
            yield functools.partial(_call_and_place, call, service)


def _stored(description, name):
    """Return a str that a call has stored, or None; do not load the call."""
    is_ghost = description._p_changed is None
    state = record.state(description) if is_ghost else vars(description)
    found = state.get(name) if type(state) is dict else None
    return found if type(found) is str else None


def _call_and_place(call, service):
    result = call()
    place(result, getattr(service, '_p_jar', None))
    return result
