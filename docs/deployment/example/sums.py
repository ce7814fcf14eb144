"""An asynchronous function, and a program that calls it."""

import os
import sys
import time

import transaction
import zope.component.hooks
from zope.app.publication.zopepublication import ZopePublication
from zope.app.wsgi import getWSGIApplication

from gocept.async_ import function
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.startup import openedDatabase


@function(service='sums')
def add(a, b):
    return a + b, os.getpid()


def main(configuration):
    """Do what a web process does: start, call the function, commit."""
    getWSGIApplication(configuration)
    connection = openedDatabase().open()
    root = connection.root()[ZopePublication.root_name]
    zope.component.hooks.setSite(root)
    jobid = add.enqueue(2, 3)
    transaction.commit()
    service = zope.component.getUtility(ITaskService, 'sums')
    while service.getStatus(jobid) in (QUEUED, PROCESSING):
        time.sleep(0.05)
        # To see what others have committed.
        transaction.begin()
    if service.getStatus(jobid) != COMPLETED:
        sys.exit(service.getError(jobid))
    result, process = service.getResult(jobid)
    where = 'this' if process == os.getpid() else 'another'
    print(f'2 + 3 = {result}, says {where} process')


if __name__ == '__main__':
    # Stored calls name the module by which it is imported.
    import sums
    sums.main(sys.argv[1])
