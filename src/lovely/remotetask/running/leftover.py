"""What a job leaves in its transaction that goes on at the end of that.

A savepoint takes none of it back.
"""

from ZODB.Connection import Connection


def left_in(txn):
    """Return what works when a transaction is committed: its ids.

    Without what belongs to the databases and to this package.
    """
    hooks = [*txn.getBeforeCommitHooks(), *txn.getAfterCommitHooks()]
    return [id(hook) for hook, _, _ in hooks if not _is_ours(hook)] + [
        id(resource) for resource in txn._resources
        if not isinstance(resource, Connection)]


def watching(manager):
    """Return the ids of what is told of the end of each transaction.

    manager -- a transaction manager, or that of the thread.

    Without connections: these change nothing then.
    """
    found = set()

    def add(synchronizer):
        if not issubclass(type(synchronizer), Connection):
            found.add(id(synchronizer))
    # That of the thread hands all on to one that it has.
    getattr(manager, 'manager', manager)._synchs.map(add)
    return found


def _is_ours(hook):
    module = getattr(hook, '__module__', None)
    return isinstance(module, str) and module.startswith('lovely.remotetask.')
