"""Serve the application of zope.conf on http://127.0.0.1:8080/."""

import waitress
from zope.app.wsgi import getWSGIApplication


waitress.serve(getWSGIApplication('zope.conf'), listen='127.0.0.1:8080')
