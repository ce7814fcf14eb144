"""A process like that of a web application: adds jobs, runs none.

Reads one request a line, ``[name, *arguments]`` in JSON, and answers each.
"""

import json
import sys

import BTrees.OOBTree
import transaction
import zope.component.hooks
from zope.app.publication.zopepublication import ZopePublication
from zope.app.wsgi import getWSGIApplication

from gocept.async_.tests import workerjobs
from gocept.async_.tests.sample import Content
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.running import lag
from lovely.remotetask.startup import openedDatabase


class Requests:
    """What can be asked for, each in a transaction of its own."""

    def __init__(self, root):
        self._root = root

    def _service(self, name='events'):
        return zope.component.getUtility(ITaskService, name)

    def prepare(self):
        """Make what the jobs write to."""
        self._root.counts = BTrees.OOBTree.OOBTree()

    def add(self, function, *args):
        """Add a job.  Return its id."""
        return getattr(workerjobs, function).enqueue(*args)

    def job(self, jobid):
        job = self._service().jobs[jobid]
        return {'status': job.status, 'attempts': job.attempts,
                'output': job.output, 'error': job.errorClass,
                'history': [each.errorClass for each in job.history]}

    def add_with_content(self, name):
        """Add a job together with the content that it is about."""
        self._root[name] = content = Content()
        return workerjobs.count_content.enqueue(content)

    def databases(self):
        """Return where service and job are, by the names of databases."""
        service = self._service()
        return [each._p_jar.db().database_name
                for each in (service, service.__parent__)]

    def counts(self):
        """Return how often the jobs of each name have had their effect."""
        return dict(self._root.counts)

    def waiting(self):
        """Return how many jobs have not ended."""
        counts = self._service().counts()
        return counts['queued'] + counts.get('processing', 0)


def main(configuration, make_requests=Requests):
    getWSGIApplication(configuration)
    connection = openedDatabase().open()
    root = connection.root()[ZopePublication.root_name]
    zope.component.hooks.setSite(root)
    requests = make_requests(root)
    jobs = requests._service()._p_jar.db()
    print('"ready"', flush=True)
    for line in sys.stdin:
        name, *args = json.loads(line)
        for attempt in transaction.manager.attempts(10):
            with attempt:
                # The client of the content may be told later than that of the
                # jobs, or be connected later.
                lag.catch_up(jobs)
                transaction.begin()
                answer = getattr(requests, name)(*args)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
