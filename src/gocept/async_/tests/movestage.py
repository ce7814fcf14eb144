"""An application with three databases, of which one has the jobs.

`main` does one thing to it, in a process of its own, and may die of it.
"""

import contextlib
import io
import json
import os
import signal
import sys

import transaction
import zope.component.hooks
import zope.location
from zope.app.wsgi import config
from zope.site.folder import Folder

import gocept.async_
from gocept.async_.manage import command
from gocept.async_.manage import moving
from gocept.async_.move import copying
from gocept.async_.move import handover
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import sample
from lovely.remotetask.running import quirks
from lovely.remotetask.running.server import server


SITE = '''
<configure
    xmlns="http://namespaces.zope.org/zope"
    xmlns:async="http://namespaces.gocept.com/async">
  <include package="gocept.async_" file="meta.zcml" />
  <include package="gocept.async_" file="ftesting.zcml" />
  <async:service name="events" autostart="false" database="{database}" />
</configure>
'''

DATABASE = '''
<zodb {name}>
  <filestorage>
    path {folder}/{name}.fs
  </filestorage>
</zodb>
'''

RELSTORAGE = '''
<zodb {name}>
  %import relstorage
  <relstorage>
    name {folder}/{name}
    <sqlite3>
      data-dir {folder}/{name}
    </sqlite3>
  </relstorage>
</zodb>
'''

CONFIGURATION = '''
site-definition {folder}/site.zcml
{databases}
<eventlog>
  <logfile>
    path STDERR
  </logfile>
</eventlog>
'''

# In the order of commits: their storages are sorted by the paths.
NAMES = 'content', 'jobs', 'more'

JOBS = 60

POINTS = ('copying', 'arriving', 'arrived', 'switching', 'voting',
          'finishing', 'switched')


@gocept.async_.function('events')
def count(content, number):
    """Note in the content that a job was run."""
    content.value = (*content.value, number)


@gocept.async_.function('events')
def take(content, order):
    """Note in the content what an order says."""
    content.value = (*content.value, order.value)


def write(folder, database, on_relstorage=()):
    """Write the files of the application; a service is in a database.

    on_relstorage -- names of the databases that are there.
    """
    databases = ''.join(
        (RELSTORAGE if name in on_relstorage else DATABASE).format(
            name=name, folder=folder)
        for name in NAMES)
    (folder / 'site.zcml').write_text(SITE.format(database=database))
    (folder / 'zope.conf').write_text(CONFIGURATION.format(
        folder=folder, databases=databases))


def die(*args):
    """End as if somebody had killed the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point):
    """Let this process die at a point of a move."""
    moving.SILENT = -3600
    if point == 'copying':
        copying.BATCH = 50
        quirks.store_all = _second(quirks.store_all)
    elif point == 'arriving':
        handover.arrive = die
    elif point == 'arrived':
        handover.switch = die
    elif point == 'switching':
        handover._replace = die
    elif point == 'voting':
        handover.Unchanged.tpc_vote = die
    elif point == 'finishing':
        _die_between_the_databases()
    elif point == 'switched':
        handover.tidy = die


def _second(call):
    calls = []

    def counted(*args):
        calls.append(args)
        return die() if len(calls) == 2 else call(*args)
    return counted


def _die_between_the_databases():
    """The first storage has the transaction, the next one has not."""
    from ZODB.Connection import Connection
    switch, finish = handover.switch, Connection.tpc_finish

    def finish_one(connection, txn):
        finish(connection, txn)
        die()

    def switch_then(*args):
        Connection.tpc_finish = finish_one
        return switch(*args)
    handover.switch = switch_then


def opened(conf):
    """Return the database, its root folder and the content in it."""
    db = config(conf)
    root = server().root(db.open())
    zope.component.hooks.setSite(root)
    root['content'] = content = sample.Content()
    content.value = ()
    transaction.commit()
    login('zope.user')
    return db, root, content


def fill_removed(conf):
    """Add jobs whose arguments are not in the content, or not any more."""
    db, root, content = opened(conf)
    root['folder'] = folder = Folder()
    folder['order'] = order = sample.Content()
    located = sample.Content()
    zope.location.locate(located, folder, 'located')
    order.value, located.value = 1, 2
    take(content, order)
    take(content, located)
    logout()
    transaction.commit()
    del root['folder']
    transaction.commit()
    db.close()


def fill(conf):
    """Add jobs: each is to be run once."""
    db, root, content = opened(conf)
    for number in range(JOBS):
        count(content, number)
        if number % 7 == 0:
            transaction.commit()
    logout()
    service = gocept.async_.service('events')
    service.pause_job(service.addCronJob('echo', hour=2))
    service.addCronJob('echo', hour=3)
    service.cancel(service.add('echo'))
    transaction.commit()
    db.close()


def tell(conf):
    """Write what there is."""
    json.dump(told(conf), sys.stdout)


def told(conf):
    """Return where the service is, and which jobs it has."""
    db = config(conf)
    root = server().root(db.open())
    zope.component.hooks.setSite(root)
    service = gocept.async_.service('events')
    found = {
        'database': service._p_jar.db().database_name,
        'jobs': sorted([str(job.id), job.status, getattr(job, 'paused', None)]
                       for job in service.jobs.values())}
    transaction.abort()
    zope.component.hooks.setSite(None)
    for each in db.databases.values():
        each.close()
    return found


def again(conf):
    """Move it; write what there was before, what is said, and what there is.
    """
    moving.SILENT = -3600
    before, out = told(conf), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        command.main([conf, 'move'])
    json.dump([before, out.getvalue(), told(conf)], sys.stdout)


def finish(conf):
    """Pack all databases, run all jobs, and write which have run."""
    db = config(conf)
    for each in db.databases.values():
        each.pack()
        each.cacheMinimize()
    root = server().root(db.open())
    zope.component.hooks.setSite(root)
    process('events')
    transaction.begin()
    service = gocept.async_.service('events')
    json.dump({'run': sorted(root['content'].value),
               'counts': dict(service.counts()),
               'unreadable': service.unreadable()}, sys.stdout)


def main(action, conf, point=None):
    """Do something to the application of a zope.conf.

    action -- move, again, fill, fill_removed, tell or finish.
    point -- where to die, when it is moved.
    """
    if action == 'move':
        die_at(point)
        command.main([conf, 'move'])
    else:
        {'fill': fill, 'fill_removed': fill_removed, 'tell': tell,
         'again': again, 'finish': finish}[action](conf)
