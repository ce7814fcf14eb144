"""Object ids that a ZEO client has in reserve.

A client gets ids for new objects a hundred at a time.  ZEO 6.2 keeps them
when it connects again, but a server that was restarted gives those out once
more that are not in its file yet.  Two new objects with one id are a conflict
for whoever commits second, and leave a client with an object without state.
"""


def forget_on_reconnect(storage):
    """Let a ZEO client drop its reserve whenever it connects.

    Nothing happens to other storages, nor to a ZEO that keeps its reserve
    elsewhere.
    """
    if (not type(storage).__module__.startswith('ZEO.')
            or not isinstance(getattr(storage, '_oids', None), list)):
        return
    connected = storage.notify_connected

    def notify_connected(*args, **kw):
        # In place: another thread may be taking one.
        del storage._oids[:]
        connected(*args, **kw)

    storage.notify_connected = notify_connected
