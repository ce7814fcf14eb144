"""Jobs whose addresses travel through a broker, and run in Celery's processes.

``celery -A gocept.async_.celery worker`` finds the application here.
"""


def __getattr__(name):
    # Made when Celery asks for it: to import it needs Celery, and whoever
    # only sends addresses is not to load an application.
    if name == 'app':
        from gocept.async_.celery.application import app
        return app
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
