"""Write the database that test_upgrade reads.  Run with the earlier code.

    git archive 351d9ac src | tar -x -C /tmp/earlier
    PYTHONPATH=/tmp/earlier/src python make_earlier_data.py

It writes earlier_data.fs.gz beside itself.
"""

import datetime
import gzip
import pathlib
import tempfile
import unittest.mock

import persistent
import transaction
import ZODB
import ZODB.FileStorage
import zope.component
import zope.site.folder

import gocept.async_.demo.computation
from gocept.async_.task import TaskDescription
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.task import SimpleTask


def fail(input):
    raise ValueError('An error occurred.')


def fill(service):
    """Make jobs of each status."""
    ids = {}
    ids['completed'] = service.add('test.echo', 'completed')
    ids['error'] = service.add('test.fail', 'error')
    service.process(1000)
    ids['cancelled'] = service.add('test.echo', 'cancelled')
    service.cancel(ids['cancelled'])
    ids['processing'] = service.add('test.echo', 'processing')
    service.claimNextJob(2000)
    for number in range(3):
        ids[f'queued {number}'] = service.add('test.echo', f'q{number}')
    ids['start later'] = service.add('test.echo', 'later', startLater=True)
    ids['cron'] = service.addCronJob('test.echo', 'cron', minute=(10,))
    ids['fresh cron'] = service.addCronJob('test.echo', 'fresh', hour=(3,))
    ids['delayed'] = service.addCronJob('test.echo', 'delayed', delay=10)
    for name in ('cron', 'delayed'):
        job = service.jobs[ids[name]]
        service.queue.remove(job)
        service.queue._schedule(job, 2000)
    ids['fresh delayed'] = service.addCronJob('test.echo', 'fd', delay=20)
    ids['description'] = service.add(
        'test.described', describe(gocept.async_.demo.computation))
    return ids


def describe(module):
    functions = [value for value in vars(module).values()
                 if hasattr(value, 'undecorated')]
    return TaskDescription(functions[0], (1,), {})


def fill_as_0_5(service):
    """Make what lovely.remotetask 0.5 stored, with its naive local times."""
    del service._jobs_to_run
    service._queue = persistent.Persistent()
    service._scheduledJobs = persistent.Persistent()
    service._scheduledQueue = persistent.Persistent()
    statuses = (QUEUED, COMPLETED, ERROR, CANCELLED, PROCESSING, QUEUED)
    for number, status in enumerate(statuses):
        job = Job(100 - number, 'test.echo', f'old {number}')
        put(service, job, status, number)
    put(service, CronJob(7, 'test.echo', 'old cron', minute=(10,)), CRONJOB, 7)
    put(service, CronJob(8, 'test.echo', 'old delayed', delay=10), DELAYED, 8)


def put(service, job, status, minute):
    job.status = status
    job.created = datetime.datetime(2010, 1, 1, 0, minute)
    if status == ERROR:
        # The exception itself was stored.
        job.error = ValueError('old')
    service.jobs[job.id] = job


def write(path):
    db = ZODB.DB(ZODB.FileStorage.FileStorage(path))
    connection = db.open()
    root = connection.root()['Application'] = zope.site.folder.rootFolder()
    root['tasks'] = TaskService()
    root['old'] = TaskService()
    transaction.commit()
    with unittest.mock.patch('random.randrange', return_value=1000):
        root.ids = fill(root['tasks'])
    fill_as_0_5(root['old'])
    # The greatest id that the earlier code could give.
    with unittest.mock.patch('random.randrange', return_value=2 ** 31 - 1):
        root['tasks']._v_nextid = None
        root.ids['greatest'] = root['tasks'].add('test.echo', 'q3')
    transaction.commit()
    db.pack()
    connection.close()
    db.close()


def main():
    for name, func in (('test.echo', lambda input: input),
                       ('test.described', lambda input: None),
                       ('test.fail', fail)):
        zope.component.provideUtility(SimpleTask(func), ITask, name)
    target = pathlib.Path(__file__).with_name('earlier_data.fs.gz')
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'Data.fs'
        write(str(path))
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == '__main__':
    main()
