"""Contracts of the task service, and the way of a job through it.

A *task* is a named ``ITask`` utility.  A *job* is one queued call of a task.
A *service* stores jobs, a *processor* takes them and runs them.

The way of a job:

1. ``ITaskService.add`` stores the job, QUEUED, in the caller's transaction.
   Aborted, it never existed.  After the commit the processors of this
   process are woken.
2. A processor claims the job in a transaction of its own: the job is
   PROCESSING and carries an ``IClaim``.
3. The processor runs the task in a second transaction.  The effects of the
   task, its result and the status COMPLETED commit together, and only while
   the claim is still the job's own.
4. If that transaction fails, nothing of it stays.  After a transient error
   (a conflict) it is run again from a fresh snapshot; otherwise a third
   transaction stores the status ERROR with class, message and traceback.
"""

import transaction.interfaces
import zope.interface
import zope.interface.common.mapping
import zope.location.interfaces
import zope.schema


QUEUED = 'queued'
PROCESSING = 'processing'
CANCELLED = 'cancelled'
ERROR = 'error'
COMPLETED = 'completed'
DELAYED = 'delayed'
CRONJOB = 'cronjob'
STARTLATER = 'start later'
HELD = 'held'

STATUSES = (QUEUED, PROCESSING, CANCELLED, ERROR, COMPLETED, DELAYED, CRONJOB,
            STARTLATER, HELD)

# These are run when their time comes.
WAITING = (QUEUED, DELAYED, CRONJOB)

# What `clean` may remove: nothing will ever happen to these jobs again.
ENDED = (CANCELLED, ERROR, COMPLETED)


class NoSuchService(LookupError):
    """There is no task service at the path of a processor."""


class IllegalStatusChange(ValueError):
    """A job cannot go from its status to the one asked for."""


class NoTransaction(transaction.interfaces.TransactionError):
    """There is no transaction of which a change could become part.

    None has begun, or it has failed or ended.  Nothing was changed.
    """


class NoTimeZone(ValueError):
    """This process cannot tell the time in the time zone of a cron job.

    The message says why: it has no time zone data, or not that time zone.
    """


class UnreadableResult(LookupError):
    """A result is stored that the code of today cannot load."""


DEFAULT_PRIORITY = 5


class CannotRollBack(transaction.interfaces.TransactionError):
    """A failed job has left something in its transaction for good."""


class CannotRun(Exception):
    """A job cannot be run by the code that is installed; it is held."""


class ClaimLost(Exception):
    """The job is not, or no longer, claimed by the one who acts on it."""


class ITask(zope.interface.Interface):
    """A named piece of work; a utility whose name jobs refer to."""

    inputSchema = zope.schema.Object(
        title='Input schema',
        description='A schema that describes the input.',
        schema=zope.interface.Interface,
        required=False)

    outputSchema = zope.schema.Object(
        title='Output schema',
        description='A schema that describes the result.',
        schema=zope.interface.Interface,
        required=False)

    def __call__(service, jobid, input):
        """Do the work of one job.

        service -- the ITaskService that holds the job.
        jobid -- int, the id of the job being run.
        input -- what was given to `ITaskService.add`.

        Return the result, which must be picklable: it is stored on the job.
        Any exception makes the job fail.  Do not commit or abort the
        transaction: the one who runs the job does, together with its status.
        """


class IInputCheck(zope.interface.Interface):
    """A task that can tell whether an input is one of its own.

    Optional: `ITaskService.add` asks tasks that provide it.
    """

    def checkInput(input):
        """Raise TypeError or ValueError if `input` cannot be worked on."""


class ITaskContext(zope.interface.Interface):
    """A task whose jobs are run, and committed, in a context of their own.

    Optional: it may choose site and principal.  Hooks and data managers that
    a job has added to its transaction work within it, too.
    """

    def context(service, jobid, input):
        """Return a context manager, for the call and the commit.

        Its value is called without arguments to do the work, and returns the
        result; see ITask.__call__.

        input -- not loaded yet, if it is persistent.

        Raise CannotRun if the installed code cannot do it.
        """


class IClaim(zope.interface.Interface):
    """Who runs a job, and since when.  Immutable."""

    job = zope.schema.Int(title='Job', description='The id of the job.')

    worker = zope.schema.TextLine(
        title='Worker', description='The id of the worker record.')

    processor = zope.schema.TextLine(
        title='Processor', description='``host:pid:thread``.')

    time = zope.schema.Float(
        title='Time', description='POSIX seconds of the claim.')

    attempt = zope.schema.Int(
        title='Attempt', description='Counts the runs of the job, from 1.')

    fence = zope.schema.Int(
        title='Fence',
        description='That of the job when it was claimed. The job has another '
                    'one once the claim is taken away, or has been used.')


class IFailure(zope.interface.Interface):
    """Why a run failed."""

    error = zope.interface.Attribute('The message of the exception.')

    errorClass = zope.interface.Attribute('Its class, dotted.')

    errorClasses = zope.interface.Attribute(
        'A set: its class and all base classes, dotted.')

    traceback = zope.interface.Attribute('Its full traceback text.')

    retryable = zope.interface.Attribute(
        'Whether the error is transient: a conflict, say.')

    holds = zope.interface.Attribute(
        'Whether the job can be run after a deploy, but not now.')

    interrupted = zope.interface.Attribute(
        'Whether the databases or the process failed, and not the job: that '
        'does not count against it.')

    exhausts = zope.interface.Attribute(
        'Whether the process had descriptors and threads left when an '
        'interrupted run began, and has none any more: it may be what the job '
        'does, if that happens again and again.')


class IJob(zope.interface.Interface):
    """One queued call of a task."""

    id = zope.schema.Int(
        title='Id',
        description='Identifies the job in its service; 0 is an id too.',
        required=True)

    task = zope.schema.TextLine(
        title='Task',
        description='The name of the ITask utility that does the work.',
        required=True)

    status = zope.schema.Choice(
        title='Status',
        description='Where the job stands; changed by its service alone.',
        values=STATUSES,
        required=True)

    input = zope.schema.Object(
        title='Input',
        description='The input for the task.',
        schema=zope.interface.Interface,
        required=False)

    output = zope.schema.Object(
        title='Output',
        description='What the task returned.',
        schema=zope.interface.Interface,
        required=False,
        default=None)

    error = zope.schema.Text(
        title='Error',
        description='The message of the exception that ended the last run.',
        required=False,
        default=None)

    errorClass = zope.schema.TextLine(
        title='Error class',
        description='Module and name of the class of that exception.',
        required=False,
        default=None)

    traceback = zope.schema.Text(
        title='Traceback',
        description='The full traceback text of that exception.',
        required=False,
        default=None)

    claim = zope.schema.Object(
        title='Claim',
        description='Who runs the job; None while nobody does.',
        schema=IClaim,
        required=False,
        default=None)

    attempts = zope.schema.Int(
        title='Attempts',
        description='How often the job was run since it was queued.',
        default=0)

    transients = zope.schema.Int(
        title='Transient errors',
        description='How many of these runs met a transient error.',
        default=0)

    history = zope.schema.Tuple(
        title='History',
        description='The last runs, each with `started` (POSIX seconds), '
                    '`duration`, `processor`, `errorClass`, `error` and '
                    '`traceback`.',
        default=())

    priority = zope.schema.Int(
        title='Priority',
        description='0 to 9; jobs with a higher one are run first.',
        min=0, max=9, default=DEFAULT_PRIORITY)

    created = zope.schema.Datetime(
        title='Created',
        description='When the job was added (aware, UTC).',
        required=True)

    started = zope.schema.Datetime(
        title='Started',
        description='When its last run began (aware, UTC).',
        required=False)

    completed = zope.schema.Datetime(
        title='Completed',
        description='When it ended, well or not (aware, UTC).',
        required=False)


class ICronJob(IJob):
    """A job that runs at given times, or once after a delay.

    The fields are tuples of ints; an empty one stands for every value, or,
    if it is finer than the finest field that is set, for the first one:
    ``hour=(2,)`` is 02:00, ``month=(5,)`` is the first of May at 00:00.
    A time must match all fields.  Times are UTC, unless `timezone` says
    otherwise.

    When the clock of a time zone is changed, to summer time say, these rules
    hold; Debian's cron has nearly the same:

    - With hours, each time is run once.  One that the change skips is run at
      the change (with others that it skips, once for all), one that comes
      twice is run the first time.
    - Without hours, or with all 24, the job goes on by what the clock shows.
      In an hour that comes twice it is run as in any other hour.  What the
      change skips is run at the change only if nothing else is run within
      the hour after it.
    """

    timezone = zope.schema.TextLine(
        title='Time zone',
        description='A name of the IANA database, like "Europe/Berlin"; UTC '
                    'if it is not given.',
        default=None,
        required=False)

    minute = zope.schema.Tuple(
        title='Minutes', description='0 to 59.', default=(), required=False)

    hour = zope.schema.Tuple(
        title='Hours', description='0 to 23.', default=(), required=False)

    dayOfMonth = zope.schema.Tuple(
        title='Days of month', description='1 to 31.',
        default=(), required=False)

    month = zope.schema.Tuple(
        title='Months', description='1 to 12.', default=(), required=False)

    dayOfWeek = zope.schema.Tuple(
        title='Days of week', description='0 (Monday) to 6 (Sunday).',
        default=(), required=False)

    delay = zope.schema.Int(
        title='Delay',
        description='Seconds to wait before the job is run once, instead of '
                    'a pattern. Fractions are fine; the wait must end before '
                    'the year 9999 does.',
        default=None,
        required=False)

    scheduledFor = zope.schema.Datetime(
        title='Scheduled for',
        description='When it will run next (aware, UTC).',
        default=None,
        required=False)

    def update(minute=(), hour=(), dayOfMonth=(), month=(), dayOfWeek=(),
               delay=None, timezone=None):
        """Set another pattern or delay.

        minute ... dayOfWeek -- tuples, or other collections, of whole
            numbers; a single number stands for a tuple of it alone.
        delay -- int or float; 0 stands for no delay.
        timezone -- str.

        Call `ITaskService.reschedule` afterwards.  A value out of range, or
        a pattern that no day matches, raises ValueError and changes nothing.
        """

    def timeOfNextCall(now=None):
        """Return the next time after `now`, in POSIX seconds (int).

        now -- POSIX seconds; default: the current time.

        Raise ValueError if it cannot be calculated, from values that earlier
        versions took, say; NoTimeZone if this process does not know the time
        zone.
        """

    def corrected_due(now):
        """Return when the job should be due, if it is due too late.

        now -- POSIX seconds, of a clock that is right.

        None if all is well.  A clock that was wrong for a moment, and ahead,
        may have made a job due years too late.  A time that has passed since
        it ran last is over already: it is made up for.  Raise ValueError
        like `timeOfNextCall`.
        """


class IProcessorSettings(zope.interface.Interface):
    """How the processor of a service is made.

    A service has these attributes itself.  An adapter from ITaskService to
    this interface takes precedence: so settings can live outside the
    database.
    """

    processorFactory = zope.interface.Attribute(
        'Called with the database, the path and the processorArguments; '
        'returns an IProcessor.')

    processorArguments = zope.interface.Attribute(
        'A mapping of keyword arguments for the processorFactory.')

    policy = zope.interface.Attribute(
        'A `lovely.remotetask.policy.Policy`: attempts, waits, retention.')


class ITaskService(zope.location.interfaces.IContained):
    """Stores jobs and hands them to processors."""

    jobs = zope.schema.Object(
        title='Jobs',
        description='All jobs: a mapping of job id to IJob.',
        schema=zope.interface.common.mapping.IEnumerableMapping)

    processorFactory = zope.interface.Attribute('See IProcessorSettings.')

    processorArguments = zope.interface.Attribute('See IProcessorSettings.')

    taskInterface = zope.interface.Attribute(
        'The interface under which the tasks of this service are registered.')

    def getAvailableTasks():
        """Return a mapping of task name to ITask."""

    def add(task, input=None, startLater=False, priority=5, delay=None):
        """Store a job in the current transaction.

        task -- str, the name of an available task.
        input -- given to the task; must be picklable.
        startLater -- if true, the job waits for `startJob`.
        priority -- int, 0 to 9; jobs with a higher one are run first.
        delay -- seconds from now before which the job is not run.

        Return the job's id (int).  Raise ValueError if there is no such
        task, a value is out of range, or the input is larger than the
        service allows (`max_size`), TypeError if it cannot be stored and read
        back, and what the task's `IInputCheck` raises.
        """

    def addCronJob(task, input=None, minute=(), hour=(), dayOfMonth=(),
                   month=(), dayOfWeek=(), delay=None, timezone=None):
        """Store a job that runs at given times, or once after a delay.

        See ICronJob for the fields.  They count from the first `process`,
        or the first step of a processor, that sees the job.

        Return the job's id (int).  Raise ValueError like `add`, and for a
        pattern that can never match.
        """

    def startJob(jobid):
        """Queue a job that was added with startLater.

        Return whether it was waiting for that.
        """

    def reschedule(jobid):
        """Schedule a cron job anew after its fields were updated.

        Raise ValueError if it is not a scheduled job.
        """

    def requeue(jobid):
        """Queue a job again that is held, in error or cancelled.

        Return whether it was.
        """

    def counts():
        """Return a mapping of status to the number of jobs."""

    def unreadable():
        """Return what cannot be read: a list, empty if all is well.

        The ids of jobs (int) that were put aside because of that, and names
        of other records (str) on which the books of the service are kept.
        The jobs are held, see their errors; `requeue` queues one again that
        can be read meanwhile, and `remove` removes it.
        """

    def oldest_waiting(now=None):
        """Return since when the job waits that waits longest, or None.

        now -- POSIX seconds; default: the current time.

        POSIX seconds: when the job was queued, or when it was due.  Only
        jobs count that could be claimed at `now`.  Cheap, whatever the
        number of jobs.
        """

    def find(status=None, task=None, function=None, after=None, limit=50):
        """Return a page of jobs, newest first: `jobs` and `after`.

        status, task -- only jobs with that status, of that task.
        function -- only stored calls of that dotted name.
        after -- the `after` of the page before; the last page has None.
        limit -- int, how many jobs at most.  Where few match, a page may
            have fewer, and still not be the last.

        Reads little more than the page.  Raise ValueError for a status that
        does not exist, or a bad `after` or `limit`.
        """

    def remove(jobid):
        """Remove a job, after cancelling it if it waits.

        Return whether that was done: not for a job that runs.  Raise
        KeyError for an unknown id.
        """

    paused = zope.schema.Bool(
        title='Paused',
        description='While it is true, processors claim no jobs; jobs can be '
                    'added.')

    def clean(status=(CANCELLED, ERROR, COMPLETED)):
        """Remove the jobs with one of the given statuses.

        Raise ValueError, and remove nothing, if a status is not one of the
        three default ones.
        """

    def cancel(jobid):
        """Cancel a job that has not begun.

        Return whether that was done: not for a job that runs or has ended,
        nor for an unknown id.
        """

    def getStatus(jobid):
        """Return the status of a job (str); KeyError for an unknown id."""

    def getResult(jobid):
        """Return what the task returned, None before that.

        Raise UnreadableResult if the code of today cannot load it.
        """

    def getError(jobid):
        """Return the message of the job's error (str), 'None' without one."""

    def hasJobsWaiting(now=None):
        """Return whether a job could be claimed at `now` (POSIX seconds)."""

    def claimNextJob(now=None):
        """Claim the next job for the caller.

        now -- POSIX seconds; default: the current time.

        Return its id, or None.  The claim holds as soon as the current
        transaction is committed.
        """

    def processNext(now=None, jobid=None):
        """Run one job in the current transaction and interaction.

        now -- POSIX seconds; default: the current time.
        jobid -- run this job instead of the next one.

        Return whether there was a job.  Nothing is committed.  A job that
        fails is rolled back to a savepoint.
        """

    def process(now=None):
        """Run all waiting jobs in the current transaction, one by one."""

    def startProcessing():
        """Start the service's processor in this process.

        Nothing happens if it runs already.  Raise ValueError if the service
        is not stored in a database yet.
        """

    def stopProcessing():
        """Ask the service's processor in this process to end.

        A job that runs is finished first; this does not wait for it.
        """

    def isProcessing():
        """Return whether the service's processor runs in this process."""


class IJobExecution(zope.interface.Interface):
    """What a processor asks of a service; a service provides it.

    Every method works in the current transaction and commits nothing.
    Times are POSIX seconds, by default the current one.
    """

    def claim(worker_id, limit, now=None, at_once=None, scheduled=True,
              may_die=None):
        """Claim up to `limit` jobs.

        worker_id -- str, ``host:pid:thread:token``; the token differs for
            any two workers.
        at_once -- how many of them the worker begins at most before it ends
            one; if it dies, the first ones of its claims count as run, and
            no others.  Default: all.
        scheduled -- whether jobs that wait for a time may be claimed, and
            may get one: false for a worker whose clock is wrong.
        may_die -- called without arguments before a job is claimed that was
            run when its process died: whether the process of this worker
            runs no other one, for another service.

        Of these jobs a worker gets only one at a time: it may die of that,
        too.

        Return a list of IClaim.  Of two who claim the same job the second
        gets a ConflictError on commit.
        """

    def put_last(worker_id, jobids):
        """Note that a worker begins some jobs after all others, if ever.

        See `at_once` of `claim`: it counts from the first one on.
        """

    def has_lost(worker_id):
        """Return whether a worker has claimed a job whose process died."""

    def claim_job(worker_id, jobid, now=None):
        """Claim the job of an id, whatever waits before it.

        Return a list with one IClaim; an empty one if there is no such job,
        or it cannot be run now: it runs, has ended, or is not due.
        """

    def claimed(claim):
        """Return the job of a claim; ClaimLost if that is not good any more.
        """

    def complete(job, run, output, now=None):
        """Store the result of a job and that it is completed.

        run -- a `lovely.remotetask.job.Run`.
        """

    def fail(job, run, failure, now=None):
        """Store why the run of a job failed, and what becomes of it.

        run -- a `lovely.remotetask.job.Run`.
        failure -- IFailure.
        """

    def is_behind():
        """Return whether there may be more to claim at once."""

    def next_due():
        """Return when the next job of the schedule is due, or None."""

    def commit_every():
        """Return how many short jobs to run in one transaction at most."""

    def max_size():
        """Return how many bytes an input or a result may take."""

    def logs_messages():
        """Return whether the log may show messages of exceptions."""

    def worker_ids(is_alive):
        """Return a list of str: the workers that are noted, and live.

        is_alive -- called with a record of a worker; see `release`.
        """

    def held(worker_id):
        """Return the ids of the jobs a worker has claimed."""

    def settle(worker_id, jobids, begun=(), now=None, interrupted=()):
        """Drop claims whose jobs are not being run any more.

        begun -- those of the ids whose jobs were begun.  Where nobody has
            stored how that ended, it counts as a failed attempt, and the job
            waits: so no job is ever run again uncounted.
        interrupted -- those of the begun whose databases or process have
            failed meanwhile.  That counts, but not against the job, unless it
            happens again and again: it may be what the job does.
        """

    def enter(worker_id, now=None):
        """Note a worker, though it claims nothing."""

    def beat(worker_id, now=None):
        """Note that a worker lives; one that is not noted stays so."""

    def sign(worker_id, now=None):
        """Note a worker, and that it lives.

        Return the persistent object that is written for that: after the
        commit its `_p_serial` tells when it was, by the storage's clock.
        """

    def signs_of_life():
        """Return a mapping: the id of each worker that is noted, and a value.

        The value is another one whenever the worker was heard of.  Of one
        whose record cannot be read it stays the same: that one is gone.
        """

    def release(is_alive, now=None):
        """Take the claims of workers away that are gone.

        is_alive -- called with the worker record, returns a bool; where it
            raises, the worker is left alone.

        Return the ids of the jobs that were being run.
        """

    def release_worker(worker_id, now=None):
        """Take the claims of one worker away; see `release`."""

    def stop_worker(worker_id):
        """Hand all claims of a worker back; nothing is counted."""

    def prune(limit, now=None):
        """Remove up to `limit` jobs that were kept long enough.

        Return how many there were.
        """

    def correct_schedule(now=None):
        """Give cron jobs another time that were scheduled by a wrong clock.
        """


class IProcessor(zope.interface.Interface):
    """Takes the jobs of one service and runs them, in threads of its own."""

    running = zope.schema.Bool(
        title='Running',
        description='Whether the processor goes on taking jobs: its thread '
                    'lives, or is about to begin.',
        readonly=True)

    trouble = zope.schema.TextLine(
        title='Trouble',
        description='Why it cannot do all of its work at the moment; None if '
                    'it can. Cheap to read, from any thread.',
        readonly=True,
        required=False)

    def __call__():
        """Take and run jobs until the processor is stopped."""

    def added(jobs):
        """Note that jobs were added or wait again, and are committed.

        jobs -- list of IJob; empty if it is not known which.

        Called in the process and the thread that has committed them; must
        not fail, nor take long.
        """

    def processNext(jobid=None):
        """Claim and run one job, or run the given one, already claimed.

        Return whether there was a job.
        """


class IProcessorFactory(zope.interface.Interface):
    """Makes processors; a utility whose name ``async:service`` refers to."""

    runsJobs = zope.interface.Attribute(
        'Bool, whether its processors run jobs in their own process; '
        'those that do not tell somebody else of them.')

    def __call__(db, servicePath, waitTime=1.0, maxThreads=1):
        """Return an IProcessor.

        db -- the ZODB.DB that holds the root folder.
        servicePath -- list of str, from the root folder to the service.
        waitTime -- seconds an idle processor waits at most.
        maxThreads -- int, how many jobs may run at a time.
        """

    def check(maxThreads):
        """Raise ValueError if this kind of processor cannot have so many."""


class IStartRemoteTasksEvent(zope.interface.Interface):
    """The services that the product configuration names are to be started."""

    serviceNames = zope.schema.List(
        title='Services to start',
        description='``site@service`` names, as in zope.conf.',
        default=[],
        required=False,
        value_type=zope.schema.TextLine())
