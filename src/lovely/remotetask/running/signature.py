"""What a transaction says of itself: who, what, and further information.

Storages keep it with what the transaction has changed.  A job may put there
what they cannot keep, or what a ZEO client cannot send: the client loses its
connection over that, with all that others have begun, and then it looks as if
the server had failed.
"""

from ZODB.Connection import TransactionMetaData

from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import quirks
from lovely.remotetask.task import TaskError


# Bytes of each part.  A FileStorage takes no more, and behind a ZEO server it
# does not say why it has failed.
LONGEST = 0xffff


def sign(txn, note, principal=None):
    """Tell a transaction whose it is and what it does; for undo logs.

    note -- str.
    principal -- str, the id of one.
    """
    txn.note(_storable(note))
    if principal is not None:
        txn.user = _storable(f' {principal}')


def _storable(text):
    # Storages refuse long ones, and what is not UTF-8.
    return escaped(plain(text, 1000))


def check(txn, db):
    """Raise TaskError if storages cannot keep what a transaction says.

    db -- any of the databases of the application; all of them count.
    """
    # Most say nothing that anybody could refuse.
    if not (_is_plain(txn.user) and _is_plain(txn.description)
            and type(txn.extension) is dict and not txn.extension):
        _check_as_stored(txn, db)


def _is_plain(text):
    return type(text) is str and text.isascii() and len(text) <= LONGEST


def _check_as_stored(txn, db):
    found = outcome_of(_as_stored, txn)
    if found.failed:
        raise TaskError(
            f'What the transaction of the job says of itself cannot be stored '
            f'({found.errorClass}: {found.error}); give it plain values.'
        ) from found.exception
    sizes = {name: len(value) for name, value in found.value.items()}
    if sizes['extension'] or max(sizes.values()) > LONGEST:
        for storage in blame.storages(db):
            # A storage may be several objects, one around the other.
            if quirks.is_served(storage) and hasattr(storage, 'tpc_begin'):
                _check_served(storage, txn, sizes)


def _as_stored(txn):
    """Return {name: bytes}, as ZODB makes them."""
    found = TransactionMetaData(txn.user, txn.description, txn.extension)
    return {'user': found.user, 'description': found.description,
            'extension': found.extension_bytes}


def _check_served(storage, txn, sizes):
    for name, size in sizes.items():
        if size > LONGEST:
            raise TaskError(
                f'The {name} of the transaction of the job has {size} bytes, '
                f'and the database takes {LONGEST}; shorten it.')
    sent = outcome_of(quirks.send, storage, txn.extension)
    if sent.failed:
        raise TaskError(
            f'The extension of the transaction of the job cannot be sent to '
            f'the database ({sent.errorClass}: {sent.error}); give it plain '
            f'values: texts, numbers, lists, dicts.') from sent.exception
