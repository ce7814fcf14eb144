"""Copying the records of a service to another database.

They are read as of one moment, and written some at a time.  Nothing refers to
the copies yet: whoever is interrupted here leaves what the next packing
throws away.
"""

import collections
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from ZODB.POSException import POSKeyError
from ZODB.utils import oid_repr

from gocept.async_.move import reference
from gocept.async_.move.reference import Record
from gocept.async_.move.reference import Reference
from gocept.async_.worker.application import Refused
from lovely.remotetask.foreign.outcome import Outcome
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import reason
from lovely.remotetask.running import quirks


# How many records are written in one transaction.
BATCH = 1000

# The objects of a service are of classes in these packages, but for itself.
OURS = ('lovely.remotetask.', 'gocept.async', 'BTrees.')

# The job itself has no trees: those of its input are the application's.
JOBS = 'lovely.remotetask.job.'
TREES = 'BTrees.'

# What these refer to is the application's: arguments, results, the site.
PAYLOAD = ('TaskDescription', 'Value')


class Copied(NamedTuple):
    """What was copied.

    oid -- bytes, that of the service in the other database.
    number -- how many records there are.
    left -- a set of the oids of objects of the application, in the database
        of before, that the copies refer to.
    """

    oid: bytes
    number: int
    left: set[bytes]


class Copier:
    """Copies what belongs to a service, and nothing else.

    source -- a connection, of which one snapshot is read.
    target -- a connection to the other database.
    """

    def __init__(self, source: Any, target: Any) -> None:
        self._source = source
        self._target = target
        self._source_name = source.db().database_name
        self._target_name = target.db().database_name
        self._new: dict[bytes, bytes] = {}
        self._todo: collections.deque[bytes] = collections.deque()
        # Copied last: what they refer to may belong to the service, which is
        # known only when all else is copied.
        self._payloads: collections.deque[bytes] = collections.deque()
        self._classes: dict[bytes, tuple[str, str] | None] = {}
        self._left: set[bytes] = set()

    def copy(self, oid: bytes, tell: Callable[[int], None]) -> Copied:
        """Copy a service and all that belongs to it.

        oid -- that of the service.
        tell -- called with the number of records, now and then.

        Raise Refused, with nothing but garbage written, if a record has
        references that cannot be read.
        """
        self._note(oid)
        batch, number = [], 0
        while self._todo or self._payloads:
            if self._todo:
                batch += self._copied(self._todo.popleft())
            else:
                batch += self._copied(self._payloads.popleft(), True)
            if len(batch) >= BATCH or not (self._todo or self._payloads):
                quirks.store_all(self._target, batch)
                number += len(batch)
                batch = []
                tell(number)
        return Copied(self._new[oid], number, self._left)

    def _note(self, oid: bytes) -> bytes:
        """Return the oid of the copy of an object; it is copied later."""
        if oid not in self._new:
            self._new[oid] = self._target.new_oid()
            self._todo.append(oid)
        return self._new[oid]

    def _copied(self, oid: bytes,
                is_last: bool = False) -> list[tuple[bytes, bytes]]:
        """Return the oid and the bytes of a copy; none if there is nothing.

        is_last -- whether all that belongs to the service is known.
        """
        loaded = outcome_of(quirks.load, self._source, oid)
        if loaded.is_a(POSKeyError):
            # The reference leads nowhere, and so does the copy of it.
            return []
        if loaded.exception is not None:
            raise loaded.exception
        read = outcome_of(reference.read, loaded.value)
        if read.failed:
            self._check_unread(oid, loaded.value, read)
            # What cannot be read is put aside where it is, and so there.
            return [(self._new[oid], loaded.value)]
        record = read.value
        is_payload = record.class_ is not None and (
            record.class_[1] in PAYLOAD and _is_in(OURS, record.class_))
        if is_payload and record.references and not is_last:
            self._payloads.append(oid)
            return []
        return [(self._new[oid], reference.rewritten(
            loaded.value, record,
            lambda found: self._replaced(
                found, is_payload, _is_in(JOBS, record.class_))))]

    def _check_unread(self, oid: bytes, data: bytes, read: Outcome) -> None:
        """Raise Refused for a record that could be read by other code."""
        # In the other database the same oids are those of other objects.
        if reference.refers(data):
            raise Refused(
                f'the record of the object {oid_repr(oid)} in the database '
                f'"{self._source_name}" cannot be read ({reason(read)}), but '
                f'it refers to other objects; nothing is moved. Correct or '
                f'remove what is stored there, and try again.')

    def _replaced(self, found: Reference, is_payload: bool,
                  is_of_job: bool) -> Reference:
        if found.database is not None:
            return found._replace(database=None) if (
                found.database == self._target_name) else found
        if found.oid in self._new if is_payload else (
                not found.is_weak and self._belongs(found, is_of_job)):
            return found._replace(oid=self._note(found.oid))
        if not found.is_weak:
            self._left.add(found.oid)
        return found._replace(database=self._source_name)

    def _belongs(self, found: Reference, is_of_job: bool) -> bool:
        """Return whether an object belongs to the service."""
        if found.oid in self._new:
            return True
        class_ = found.class_ or self._class_of(found.oid)
        return _is_in(OURS, class_) and not (
            is_of_job and _is_in(TREES, class_))

    def _class_of(self, oid: bytes) -> tuple[str, str] | None:
        """Return module and name of the class of an object, by its record."""
        if oid not in self._classes:
            record: Record | None = outcome_of(
                lambda: reference.read(quirks.load(self._source, oid))).value
            self._classes[oid] = None if record is None else record.class_
        return self._classes[oid]


def _is_in(packages: str | tuple[str, ...],
           class_: tuple[str, str] | None) -> bool:
    return class_ is not None and f'{class_[0]}.'.startswith(packages)
