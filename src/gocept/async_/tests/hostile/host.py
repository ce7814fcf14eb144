"""A process of the application: adds jobs, and tells what became of them.

Reads one request a line, ``[name, *arguments]`` in JSON, and answers each;
``{"error": ...}`` if that could not be done.  With ``run`` as the second
argument it is the web process of an application that also runs the jobs, in
threads; with ``old``, one of yesterday, that has code which no other one has.
"""

import base64
import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback

import BTrees.OOBTree
import persistent.list
import transaction
import zope.component
import zope.component.hooks
import zope.site.folder
import zope.site.site
from zope.app.publication.zopepublication import ZopePublication
from zope.app.wsgi import getWSGIApplication

from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.tests.hostile import jobs
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.jobs import SERVICES
from gocept.async_.tests.hostile.kinds import REFUSED
from gocept.async_.tests.hostile.report import report
from gocept.async_.tests.sample import Content
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.startup import openedDatabase


class Request:
    """What has a job of a kind added; see Kind.add."""

    def __init__(self, root, name, service):
        self._root = root
        self.name = name
        self.service = service
        self.after = None

    def add_content(self):
        self._root['content-' + self.name] = content = Content()
        return content

    def remove_content(self):
        del self._root['content-' + self.name]

    def pack(self):
        """Throw away what nothing refers to."""
        transaction.commit()
        self._root._p_jar.db().pack()

    def lost_content(self):
        """Return an object that refers to one that is not stored."""
        content = Content()
        content._p_oid = b'\x00\xff\xff\xff\xff\xff\xff\xf7'
        content._p_jar = self._root._p_jar
        return content

    def add_site(self):
        """Return a new site with a service of its own, that is started."""
        site = self._root['site-' + self.name] = zope.site.folder.Folder()
        site.setSiteManager(zope.site.site.LocalSiteManager(site))
        site['own'] = service = TaskService()
        site.getSiteManager().registerUtility(service, ITaskService, 'own')
        self.after = service.startProcessing
        return site


class Host:
    """What can be asked for, each in a transaction of its own."""

    def __init__(self, connection):
        self._connection = connection

    @property
    def _root(self):
        return self._connection.root()[ZopePublication.root_name]

    def _service(self, name='events'):
        return zope.component.getUtility(ITaskService, name)

    def prepare(self):
        """Make what the jobs write to."""
        root = self._root
        root.effects = BTrees.OOBTree.OOBTree()
        root.hot = jobs.Number()
        root.many = persistent.list.PersistentList(
            jobs.Number() for _ in range(8000))
        for name in 'other', 'third':
            site = root[name] = zope.site.folder.Folder()
            site.setSiteManager(zope.site.site.LocalSiteManager(site))
        return os.getpid()

    def add(self, *names):
        """Add jobs: lists of name, kind (None: good), service, options.

        Those that are there already are left alone: who has met an error
        does not know.
        """
        for name, kind, service, options in names:
            if name not in self._root.effects:
                self._add(name, kind, service, **options)

    def _add(self, name, kind, service, principal=None, arguments=(),
             site=None, priority=5, delay=None):
        effect = self._root.effects[name] = jobs.Effect(kind, service)
        zope.component.hooks.setSite(self._root[site] if site else self._root)
        if principal is not None:
            login(principal)
        try:
            effect.jobid = self._added(
                name, kind, service, arguments, priority, delay)
        finally:
            logout()

    def _added(self, name, kind, service, arguments, priority, delay):
        suffix = '' if service == 'events' else '_grouped'
        if kind is None:
            call = getattr(jobs, 'good' + suffix)
            return call.enqueue_with(priority=priority, delay=delay)(
                name, *arguments)
        if kind == 'seer':
            return jobs.see.enqueue(name)
        if KINDS[kind].add is None:
            return getattr(jobs, 'bad' + suffix).enqueue(name, kind)
        request = Request(self._root, name, self._service())
        try:
            jobid = KINDS[kind].add(request)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # Refused: to be seen at the call.
            return REFUSED
        if request.after is not None:
            transaction.commit()
            request.after()
        return jobid

    def undo(self, name):
        """Undo the transaction that a job has ended in, as people may do.

        Return the names of all jobs that have ended in it.
        """
        root = self._root
        serials = {each: self._serial(effect)
                   for each, effect in root.effects.items()
                   if effect.kind is None and effect.value}
        tid = serials[name]
        root._p_jar.db().undo(base64.encodebytes(tid).rstrip(b'\n'))
        return [each for each, serial in serials.items() if serial == tid]

    def _serial(self, effect):
        job = self._service(effect.service).jobs[effect.jobid]
        job._p_activate()
        return job._p_serial

    def restless(self):
        """Return names, statuses and kinds of jobs that have not ended."""
        return report(self._root, self._services()).restless()

    def report(self):
        return report(self._root, self._services()).as_dict()

    def clean(self):
        """Remove what has ended.  Return what is left, by service."""
        for service in self._services().values():
            service.clean()
        transaction.commit()
        return {name: dict(service.counts())
                for name, service in self._services().items()}

    def _services(self):
        return {name: self._service(name) for name in SERVICES}


def answer(host, connection, line):
    name, *args = json.loads(line)
    transaction.begin()
    root = connection.root()[ZopePublication.root_name]
    zope.component.hooks.setSite(root)
    try:
        found = getattr(host, name)(*args)
        transaction.commit()
    finally:
        transaction.abort()
    return found


class Terminated(BaseException):
    """This process is to end; unlike SystemExit, no record raises it."""


def terminate(*args):
    raise Terminated


def serve(host, connection, requests, answers):
    answers.write('"ready"\n')
    for line in requests:
        try:
            found = answer(host, connection, line)
        except Terminated:
            raise
        except BaseException:
            found = {'error': traceback.format_exc()[-4000:]}
        answers.write(json.dumps(found) + '\n')


def main(configuration, role='add'):
    # To see what one does that does not end.
    faulthandler.register(signal.SIGUSR1)
    # Jobs may close, or replace, what others print to.
    requests = open(os.dup(0))  # noqa: SIM115
    answers = open(os.dup(1), 'w', buffering=1)  # noqa: SIM115
    if role == 'run':
        signal.signal(signal.SIGTERM, terminate)
    getWSGIApplication(configuration)
    if role == 'old':
        # Only yesterday's code has it.
        zope.component.provideUtility(jobs.raw_task, ITask, 'hostile.old')
    connection = openedDatabase().open()
    with contextlib.suppress(Terminated):
        serve(Host(connection), connection, requests, answers)


if __name__ == '__main__':
    threading.current_thread().name = 'main'
    main(*sys.argv[1:])
