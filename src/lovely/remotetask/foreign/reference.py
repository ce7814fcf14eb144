"""References that zodbupdate 3.0 has written and that ZODB cannot read.

It converts databases of Python 2.  Of a weak reference, ``['w', (oid,)]``,
it makes ``['w', oid]``, and of one to an object of another database, ``['n',
(name, oid)]``, it makes ``['m', (name, oid)]``.  Whatever holds such a
reference cannot be loaded any more.
"""

from ZODB.serialize import ObjectReader
from ZODB.utils import oid_repr

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import class_name
from lovely.remotetask.foreign.value import unstorable


log = journal(__name__)

OID_SIZE = 8


def load(stored):
    """Load a persistent object; repair it if need be, and say so.

    Return the Outcome: of a failure that nothing of this could help.
    """
    loaded = outcome_of(stored._p_activate)
    if not loaded.failed or not repair(stored):
        return loaded
    log.info('a reference as zodbupdate writes it is repaired in the %s %s',
             class_name(type(stored)), oid_repr(stored._p_oid))
    return outcome_of(stored._p_activate)


def repair(stored):
    """Load a persistent object in spite of such references.

    stored -- a ghost that cannot be loaded.

    Return whether there were any, and the object is loaded now: it is changed
    then, so that the next commit writes what ZODB can read; unless it could
    not be written at all.
    """
    jar = stored._p_jar
    if jar is None or stored._p_changed is not None:
        return False
    reader = _Reader(jar, jar._cache, jar.db().classFactory)
    usual, jar._reader = jar._reader, reader
    try:
        loaded = outcome_of(stored._p_activate)
    finally:
        jar._reader = usual
    if loaded.failed or not reader.has_corrected:
        return False
    stored._p_changed = _is_storable(stored)
    return True


def _is_storable(stored):
    state = outcome_of(stored.__getstate__)
    return not state.failed and unstorable(state.value, stored._p_jar) is None


def corrected(reference):
    """Return a reference as ZODB has meant it; any other one as it is."""
    if type(reference) is not list or len(reference) != 2:
        return reference
    kind, rest = reference
    if kind == 'w' and isinstance(rest, bytes) and len(rest) == OID_SIZE:
        return ['w', (bytes(rest),)]
    if kind == 'm' and type(rest) is tuple and len(rest) == 2:
        return ['n', rest]
    return reference


class _Reader(ObjectReader):
    """Reads records as a connection does, and such references too."""

    has_corrected = False

    def _persistent_load(self, reference):
        found = corrected(reference)
        self.has_corrected |= found is not reference
        return super()._persistent_load(found)
