"""What the server says of a request, whatever its sender has written.

``request.get`` looks for a name in the query, the form and the cookies first.
"""


def path(request):
    """Return the path that was asked for, without the query (str)."""
    return request.environment.get('PATH_INFO', '/')


def query(request):
    """Return the query of the address that was asked for (str)."""
    return request.environment.get('QUERY_STRING', '')
