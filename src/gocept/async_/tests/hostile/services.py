"""Jobs that act on jobs: their own, others, the service."""


import transaction
import zope.component
import zope.component.hooks

from gocept.async_.tests.hostile import jobs
from gocept.async_.tests.hostile.kinds import ATTEMPTS
from gocept.async_.tests.hostile.kinds import ELSEWHERE
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import ITaskService


@kind(COMPLETED)
def cancels_itself(call):
    if call.service.cancel(call.jobid):
        raise AssertionError('cancelled while it runs')


@kind(COMPLETED)
def requeues_itself(call):
    if call.service.requeue(call.jobid):
        raise AssertionError('requeued while it runs')


@kind(COMPLETED)
def removes_itself(call):
    if call.service.remove(call.jobid):
        raise AssertionError('removed while it runs')


@kind(COMPLETED, ERROR)
def starts_itself(call):
    call.service.startJob(call.jobid)


@kind(ERROR)
def reschedules_itself(call):
    call.service.reschedule(call.jobid)


@kind(COMPLETED, ERROR)
def cleans(call):
    """What other jobs left is not to be removed: it is still looked at."""
    call.service.clean([])


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def reads_service(call):
    call.service.counts()
    call.service.oldest_waiting()
    for status in STATUSES:
        call.service.find(status=status, limit=5)
    call.service.find(function='hostile_gone.send', limit=5)
    call.service.hasJobsWaiting()


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def queues_itself_again(call):
    jobs.add_child(call.name, 'again', jobs.again, 4)


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def adds_many(call):
    for number in range(50):
        jobs.add_child(call.name, str(number))


@kind(calls=TRANSIENT_CALLS)
def adds_and_fails(call):
    jobs.add_child(call.name)
    raise ValueError('with the job')


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def adds_and_rolls_back(call):
    savepoint = transaction.savepoint()
    jobs.add_child(call.name)
    savepoint.rollback()


def events():
    """Return the service of all jobs that jobs add.

    The other one has jobs of the same ids.
    """
    return zope.component.getUtility(ITaskService, 'events')


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def cancels_another(call):
    jobs.add_child(call.name, 'victim', jobs.victim)
    events().cancel(call.root.effects[call.name + '/victim'].jobid)


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def removes_another(call):
    jobs.add_child(call.name, 'victim', jobs.victim)
    events().remove(call.root.effects[call.name + '/victim'].jobid)
    call.root.effects[call.name + '/victim'].jobid = None


@kind(ERROR)
def processes_in_job(call):
    """Is not let run whatever waits in its own transaction."""
    call.service.processNext()


@kind(COMPLETED, ERROR)
def starts_processing(call):
    call.service.startProcessing()


@kind(CANCELLED, calls=0, most=0)
def victim(call):
    """Is cancelled by the job that has added it."""


@kind(COMPLETED, most=0)
def seer(call):
    """Sees what others have left in a process; see jobs.see."""


def add_in_own_site(request):
    zope.component.hooks.setSite(request.add_site())
    jobs.remove_site.enqueue(request.name)
    return ELSEWHERE


@kind(ELSEWHERE, add=add_in_own_site, places=(THREADS,), most=2,
      effects={ELSEWHERE: (0, 1)}, calls=ATTEMPTS)
def removes_own_site(call):
    """With the service, and so with itself."""


# Cron jobs, and others that wait

def cron(name, *ends, act=None, **pattern):
    def add(request):
        return request.service.addCronJob(
            'hostile.cron', [request.name, act], **pattern)

    def none(call):
        """Is called by another task."""
    none.__name__ = name
    none.__module__ = __name__
    # Its runs are counted by the minute.
    kind(*(ends or (CRONJOB,)), add=add, most=1, calls=None,
         effects=dict.fromkeys(STATUSES))(none)


cron('cron')
cron('cron_in_berlin', timezone='Europe/Berlin')
cron('cron_on_lord_howe', timezone='Australia/Lord_Howe')
cron('cron_of_each_minute', minute=tuple(range(60)))
cron('cron_that_fails', act='raise')
cron('cron_that_exits', act='exit')
cron('cron_in_summer', month=(6,))
cron('cron_on_leap_day', month=(2,), dayOfMonth=(29,))
cron('cron_delayed', COMPLETED, delay=1)
cron('cron_delayed_that_fails', ERROR, act='raise', delay=1)


@kind(QUEUED, calls=0, most=2, add=lambda request:
      jobs.take.enqueue_with(delay=10 ** 6)(request.name))
def delayed_for_days(call):
    """Is not run at all."""
