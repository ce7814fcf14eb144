"""Applications of Celery whose broker is the one that is declared.

Celery itself takes what environment variables say before all else.
"""

import celery


# Environment variables that Celery would heed, and these applications do not.
IGNORED = ('CELERY_BROKER_URL', 'CELERY_BROKER_READ_URL',
           'CELERY_BROKER_WRITE_URL', 'CELERY_RESULT_BACKEND')


class Celery(celery.Celery):
    """Connects to the broker of its settings, and stores no results."""

    backend_cls = 'disabled'

    def connection_for_read(self, url=None, **kw):
        return super().connection_for_read(self._url(url), **kw)

    def connection_for_write(self, url=None, **kw):
        return super().connection_for_write(self._url(url), **kw)

    def connection(self, hostname=None, *args, **kw):
        return super().connection(self._url(hostname), *args, **kw)

    def _url(self, url):
        # Asked for as an attribute, it would be that of the environment.
        return url or self.conf['broker_url']
