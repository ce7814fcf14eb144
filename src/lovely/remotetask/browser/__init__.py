"""Pages of a service and of its jobs, as HTML and as JSON.

They stand on the interfaces alone, and ask a security proxied service: what
its class refuses is refused here, whatever a page shows.  ``async:pages`` of
gocept.async_ makes them reachable.
"""
