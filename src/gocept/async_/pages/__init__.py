"""The management pages of a site: an overview, and the way to each service.

``async:pages`` makes them reachable; the pages of a service themselves are in
``lovely.remotetask.browser``.
"""
