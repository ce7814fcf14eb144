from py2shop.jobs import note

import gocept.async_


@gocept.async_.function(service='events')
def moved(marker, *args, **kw):
    note(marker, args, kw)
