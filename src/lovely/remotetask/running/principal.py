"""Who makes a call, and as whom it is run.

A principal is stored by its id, and looked up when the call is run.  The id
says nothing of two of them, which no authentication need know: the system
user, and the fallback for visitors who are not logged in.  An application may
give their ids to somebody else, so these two are stored by their kind.
"""

import zope.authentication.interfaces
import zope.component
import zope.security.management
from zope.security.management import system_user
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.running.surroundings import ProcessorRequest
from lovely.remotetask.task import TaskError


# Characters of an id that people are shown.
LONGEST = 1000

# Kinds of principals: one that an authentication knows by its id, and those
# that are told by something else.
LISTED = 'listed'
SYSTEM = 'system'
FALLBACK = 'fallback'
NOBODY = 'nobody'


def current():
    """Return the principals of the current interaction.

    A tuple of pairs, kind and id (str, or None), one for each that differs,
    in the order of the participations; empty without an interaction.

    Raise TypeError if a principal has no id that can be stored.
    """
    # In a dict, so that each is there once, where it came first.
    return tuple(dict.fromkeys(
        _described(getattr(participation, 'principal', None))
        for participation in participations()))


def participations():
    """Return those of the current interaction; none without one."""
    interaction = zope.security.management.queryInteraction()
    return getattr(interaction, 'participations', ())


def current_id():
    """Return the id of the current principal as a text, for people, or None.

    The first one that has one.  Never raise.
    """
    for participation in participations():
        found = outcome_of(_id_for_people, participation)
        if not found.failed and found.value is not None:
            return found.value
    return None


def _id_for_people(participation):
    # Asked once: the next time it may say something else.
    id = participation.principal.id
    if id is None:
        return None
    # What a text is, not what a subclass makes of it.
    return plain(id if issubclass(type(id), str) else str(id), LONGEST)


def first_id(principals):
    """Return the id of the first principal that has one, or None."""
    return next((id for _, id in principals if id is not None), None)


def requests(principals):
    """Return the participations of a run, one for each principal.

    principals -- what `current` has returned at the call.

    The policy grants what it grants to each of them.  Together they may do
    no more than those who made the call, while any one of them might.

    Raise TaskError if one of them no longer exists.
    """
    return [ProcessorRequest(_find(kind, id))
            for kind, id in principals or [(NOBODY, None)]]


def _described(principal):
    """Return the pair of a principal."""
    if principal is None:
        return NOBODY, None
    id = _id_of(principal)
    if principal is system_user:
        return SYSTEM, id
    if removeSecurityProxy(principal) is _fallback():
        return FALLBACK, id
    return (NOBODY if id is None else LISTED), id


def _id_of(principal):
    """Return the id of a principal as a plain str, or None."""
    asked = outcome_of(getattr, principal, 'id')
    if asked.failed and value.is_of_database(asked):
        raise asked.exception
    class_ = type(principal if asked.failed else asked.value)
    if asked.failed:
        raise TypeError(
            f'The call cannot be stored: its principal '
            f'({value.class_name(class_)}) does not say its id: '
            f'{asked.errorClass}.') from asked.exception
    if asked.value is None:
        return None
    if not issubclass(class_, str):
        raise TypeError(
            f'The call cannot be stored: the id of its principal must be a '
            f'str, not {value.class_name(class_)}.')
    # Joined, to have what the text is, not what a subclass makes of it.
    return ''.join(('', asked.value))


def _find(kind, id):
    """Return the principal of a pair, None for nobody."""
    if kind == NOBODY:
        return None
    if kind == SYSTEM:
        return system_user
    if kind == FALLBACK:
        fallback = _fallback()
        if fallback is None:
            raise TaskError(
                'There is no IFallbackUnauthenticatedPrincipal utility any '
                'more; the function is not run as somebody else.')
        return fallback
    if kind != LISTED:
        raise CannotRun(
            f'The call was made by a principal of the kind {kind!r}, which '
            f'the installed code does not know.')
    return _look_up(id)


def _fallback():
    """Return what the publication takes where no other one is defined."""
    return removeSecurityProxy(zope.component.queryUtility(
        zope.authentication.interfaces.IFallbackUnauthenticatedPrincipal))


def _look_up(id):
    """Return the principal that the authentication of this site knows."""
    authentication = zope.component.queryUtility(
        zope.authentication.interfaces.IAuthentication)
    if authentication is None:
        raise TaskError(
            f'Principal {id!r} cannot be looked up: there is no '
            f'IAuthentication utility.')
    try:
        found = removeSecurityProxy(authentication.getPrincipal(id))
    except zope.authentication.interfaces.PrincipalLookupError as error:
        raise _gone(id) from error
    # Some answer with another one, or none, where the one is not known.
    if found is None or found is system_user or found.id != id:
        raise _gone(id)
    return found


def _gone(id):
    return TaskError(
        f'Principal {id!r} no longer exists; the function is not run as '
        f'somebody else.')
