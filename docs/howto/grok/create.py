"""Add the application to the database of zope.conf, once."""

import transaction
from grokcore.site.util import create_application
from notes.app import Notes
from zope.app.wsgi import config


root = config('zope.conf').open().root()['Application']
create_application(Notes, root, 'notes')
transaction.commit()
