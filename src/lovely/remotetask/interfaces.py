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


# The job waits for a processor; it may have a time before which it is not run.
QUEUED = 'queued'
# A processor has claimed the job, and the claim is still good.
PROCESSING = 'processing'
# Somebody has cancelled the job before it was run.
CANCELLED = 'cancelled'
# The last attempt to run the job has failed, and it is not tried again.
ERROR = 'error'
# The task has returned, and its transaction was committed with this status.
COMPLETED = 'completed'
# The job is run once, when its delay is over.
DELAYED = 'delayed'
# The job is run again and again, each time when its pattern matches.
CRONJOB = 'cronjob'
# The job waits until somebody calls `ITaskService.startJob`.
STARTLATER = 'start later'
# The installed code cannot run the job, or its record cannot be read, or was
# undone or copied; somebody has to look at it, and may requeue it.
HELD = 'held'

# All of them.
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
    Other processes may; so a job that waits is left to them.
    """


class UnreadableResult(LookupError):
    """A result is stored that the code of today cannot load."""


# That of jobs for which no priority is given; 0 is the lowest, 9 the highest.
DEFAULT_PRIORITY = 5


class CannotRollBack(transaction.interfaces.TransactionError):
    """A job has left something in its transaction for good.

    It has failed, and a savepoint does not take that back; or it has doomed
    the transaction.  Whoever has run it in a transaction of his own has to
    abort that; the job waits then as before.
    """


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


class IJobSource(zope.interface.Interface):
    """What may be given in place of the name of a task: a function, say."""

    def describe(service, input):
        """Return what is to be stored for a job.

        service -- the ITaskService that is about to add it.
        input -- what was given besides: arguments.

        A tuple: the name of an available task, the input for it, and what is
        called without arguments once the job is added.  Raise TypeError or
        ValueError if the input does not fit, LookupError if nobody could
        find this again.
        """


class IJobSources(zope.interface.Interface):
    """What people may choose besides tasks, when they add a cron job.

    A subscription adapter for an ITaskService; several of them add up.
    """

    def sources():
        """Return a mapping of names (str) to IJobSource.

        Those alone that the service is to run, and that need no arguments.
        """


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


class ISeat(zope.interface.Interface):
    """Where a job is run whose claim is not stored.  Never stored itself."""

    def refuse(is_known):
        """Remember that the job is not run: it has to be claimed first.

        is_known -- whether there is a record of the worker.
        """

    def is_kept_by_run():
        """Return whether the claim is to be stored with the end of the run.

        Called when that is about to be stored; not if somebody else has
        stored the claim meanwhile.
        """


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


class IJobState(zope.interface.Interface):
    """What becomes of a job, and what it is called."""

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

    function = zope.schema.TextLine(
        title='Function',
        description='The dotted name of the function, if the input is a '
                    'stored call. Its arguments are not loaded for that.',
        required=False,
        readonly=True)

    principal = zope.schema.TextLine(
        title='Principal',
        description='The id of the one who has made the stored call, and as '
                    'whom it is run. Its arguments are not loaded for that.',
        required=False,
        readonly=True)

    errorClass = zope.schema.TextLine(
        title='Error class',
        description='Module and name of the class of that exception.',
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

    scheduledFor = zope.schema.Datetime(
        title='Scheduled for',
        description='Before which time a job that waits is not run (aware, '
                    'UTC); None: it may be run at once, or has no time yet.',
        default=None,
        required=False)

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


class IJobContent(zope.interface.Interface):
    """What a job is about, which may be private."""

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

    traceback = zope.schema.Text(
        title='Traceback',
        description='The full traceback text of that exception.',
        required=False,
        default=None)


class IJob(IJobState, IJobContent):
    """One queued call of a task."""


class IUnreadableJob(IJob):
    """Stands for a job whose record cannot be read.

    It can be removed; and requeued, once its record can be read again.
    """


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

    name = zope.schema.TextLine(
        title='Name',
        description='The name by which the application declares the job; None '
                    'for one that somebody has added.',
        default=None,
        required=False)

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

    paused = zope.schema.Bool(
        title='Paused',
        description='Whether it is not due until somebody calls '
                    '`ITaskService.resume_job`.',
        readonly=True)

    def update(minute=(), hour=(), dayOfMonth=(), month=(), dayOfWeek=(),
               delay=None, timezone=None):
        """Set another pattern or delay.

        minute ... dayOfWeek -- tuples, or other collections, of whole
            numbers; a single number stands for a tuple of it alone.  Or a
            text as in a crontab: ``'1,15-20'``, ``'*/5'``, ``'mon-fri'``,
            ``'jan'``; days of the week are still counted from 0, Monday.
        delay -- int or float, instead of a pattern; 0 stands for no delay.
        timezone -- str.

        Call `ITaskService.reschedule` afterwards.  A value out of range, a
        pattern that no day matches, and a pattern together with a delay raise
        ValueError and change nothing.
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

        task -- str, the name of an available task; or an IJobSource, like a
            function that gocept.async_ has decorated.
        input -- given to the task; must be picklable.  For a function, its
            arguments: a tuple, or a mapping of their names; None: none.
        startLater -- bool, whether the job waits for `startJob`.
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

        task, input -- see `add`.
        minute ... timezone -- see ICronJob.update.  They count from the first
            `process`, or the first step of a processor, that sees the job.

        Return the job's id (int).  Raise what `add` raises, and ValueError as
        ICronJob.update does.
        """

    def startJob(jobid):
        """Queue a job that was added with startLater.

        Return whether it was waiting for that.
        """

    def reschedule(jobid):
        """Schedule a cron job anew after its fields were updated.

        With a delay instead of a pattern it becomes DELAYED, and CRONJOB the
        other way round.

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
        can be read meanwhile, and `remove` removes it.  A job of earlier code
        may turn out to be one that has to be held, or that has ended:
        `requeue` returns False then, and its status and its error tell why.
        """

    def oldest_waiting(now=None):
        """Return since when the job waits that waits longest, or None.

        now -- POSIX seconds; default: the current time.

        POSIX seconds: when the job was queued, or when it was due.  Only
        jobs count that could be claimed at `now`.  Cheap, whatever the
        number of jobs.
        """

    def find(status=None, task=None, function=None, after=None, limit=50,
             since=None, until=None, principal=None, errorClass=None,
             as_of=None, deadline=None):
        """Return a page of jobs, newest first: an IPage.

        status, task -- only jobs with that status, of that task.
        function -- only stored calls of that dotted name.
        after -- the `after` of the page before; the last page has None.
        limit -- int, how many jobs at most.  Where few match, a page may
            have fewer, and still not be the last: it ends when it has looked
            at 1000.
        since, until -- POSIX seconds: only jobs of `since` or later, before
            `until`.  Of a job at rest it is when it came to rest, of one
            that is processing when it was claimed; of any other, and of all
            where no status is asked for, when it was added.
        principal -- only stored calls of the principal with that id (str).
        errorClass -- only jobs whose last error was of that class, dotted.
        as_of -- the `as_of` of a page that somebody has seen: only jobs that
            nobody has added or changed since then.
        deadline -- seconds of the monotonic clock, after which the page ends,
            like one that has looked at 1000 jobs.  At least one is looked
            at.

        Reads little more than the page, neither arguments nor tracebacks.
        Jobs that are not selected leave the cache again.  Raise ValueError
        for a status that does not exist, a bad `after`, `limit` or `as_of`,
        or what is no time.
        """

    def cron_jobs(deadline=None):
        """Return the cron jobs that run again and again: a list of ICronJob.

        Those that wait, are paused, or run at the moment; newest first.
        Reads no other jobs, however many wait for a time.

        deadline -- seconds of the monotonic clock, after which no more are
            looked for.  Some may be missing then of which no processor has
            heard: those that were added while many others waited, and many
            were changed meanwhile.
        """

    def pause_job(jobid):
        """Let a cron job not be due until `resume_job`.

        Return whether that was done: not for one that is paused, cancelled
        or held, nor for a job that runs once.  A run that has begun goes on.
        It stays paused after a restart.
        """

    def resume_job(jobid):
        """Let a cron job be due again that is paused.

        Its next time counts from now: what was missed is not made up for.
        Return whether it was paused.
        """

    def copy(jobid):
        """Add a job that does once what another one does; it waits at once.

        The same task with the same input; the other job stays as it is.
        Return the id of the new job.  Raise KeyError for an unknown id,
        ValueError for a job that cannot be read.
        """

    def remove(jobid):
        """Remove a job, after cancelling it if it waits.

        Return whether that was done: not for a job that runs.  Raise
        KeyError for an unknown id.
        """

    paused = zope.schema.Bool(
        title='Paused',
        description='While it is true, processors claim no jobs; jobs can be '
                    'added. To set another value than True or False raises '
                    'ValueError.')

    def clean(status=(CANCELLED, ERROR, COMPLETED)):
        """Remove the jobs with one of the given statuses.

        status -- one of them, or an iterable of several.

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
        fails is rolled back to a savepoint.  Where the caller rolls back the
        transaction, the run is rolled back with it, and does not count: so
        this raises TaskError in a running job.

        Raise CannotRollBack if the transaction cannot be rolled back, or not
        be committed any more; TaskError if the job has aborted it.  It has
        to be aborted then.
        """

    def process(now=None):
        """Run all waiting jobs in the current transaction, one by one.

        Raise what `processNext` raises.
        """

    def startProcessing():
        """Start the service's processor in this process.

        Nothing happens if it runs already.  Raise ValueError if the service
        is not stored in a database yet, or lies in no folder.
        """

    def stopProcessing():
        """Ask the service's processor in this process to end.

        A job that runs is finished first; this does not wait for it.
        """

    def isProcessing():
        """Return whether the service's processor runs in this process."""


class IPage(zope.interface.Interface):
    """A page of jobs, see `ITaskService.find`.  Immutable."""

    jobs = zope.interface.Attribute('List of IJob.')

    after = zope.schema.TextLine(
        title='After',
        description='Where the next page begins; None: there is none.',
        required=False)

    looked_at = zope.schema.Int(
        title='Looked at', description='At how many jobs, for this page.')

    looked_back_to = zope.schema.Datetime(
        title='Looked back to',
        description='The time of the last job that was looked at (aware, '
                    'UTC): see `since`. None if there was none.',
        required=False)

    as_of = zope.schema.TextLine(
        title='As of',
        description='The last transaction that the page shows: 16 hexadecimal '
                    'digits. Given to `find`, it leaves out whatever has '
                    'changed since. None if that is not known.',
        required=False)


class ISlice(zope.interface.Interface):
    """What was done to some of the jobs that are selected.  Immutable."""

    done = zope.schema.Int(
        title='Done', description='To how many jobs it was done.')

    skipped = zope.schema.Int(
        title='Skipped',
        description='How many were selected to which it could not be done: '
                    'those that run, say.')

    after = zope.schema.TextLine(
        title='After',
        description='Where to go on; None: all that are selected were met.',
        required=False)


class IAction(zope.interface.Interface):
    """Something that somebody has done to a service.  Immutable."""

    time = zope.schema.Float(title='Time', description='POSIX seconds.')

    who = zope.schema.TextLine(
        title='Who',
        description='The id of the principal; None if nobody was logged in.',
        required=False)

    what = zope.schema.TextLine(
        title='What', description='The method of IOperations, as "cancel".')

    job = zope.schema.Int(
        title='Job',
        description='The id of the job; None if it was done to many, or to '
                    'the service.',
        required=False)

    selection = zope.interface.Attribute(
        'Which jobs were selected: a tuple of pairs, a name of an argument '
        'of `ITaskService.find` and its value; empty if none was given.')

    number = zope.schema.Int(
        title='Number', description='To how many jobs it was done.')


class IOperations(zope.interface.Interface):
    """What people do who look after a service: ``IOperations(service)``.

    An adapter that is not stored, good for one transaction.  Each method
    works in the transaction of the service, commits nothing, and remembers
    who has done what: in `actions`, in the note of the transaction; and after
    the commit in the log, and by an IActionTaken.  What has changed nothing
    is not remembered.

    From a service with a security proxy, as a view has it, it asks for the
    permissions `Operate` and `Manage`; those that ITaskService asks for are
    not needed besides.  From the service itself it asks for nothing.
    """

    service = zope.schema.Object(
        title='Service',
        description='The service itself.',
        schema=ITaskService,
        readonly=True)

    def requeue(jobid):
        """See ITaskService.  Operate."""

    def cancel(jobid):
        """See ITaskService.  Operate."""

    def run_now(jobid):
        """Add a copy of a cron job, to be run at once.  Operate.

        The job stays as it is, and so does its next time.  Return the id of
        the copy.  Raise KeyError for an unknown id, ValueError for a job that
        runs once.
        """

    def pause_job(jobid):
        """See ITaskService.  Operate."""

    def resume_job(jobid):
        """See ITaskService.  Operate."""

    def pause():
        """Let processors claim no jobs; return whether they did.  Operate."""

    def resume():
        """Let processors claim jobs again.  Operate.

        Return whether the service was paused.
        """

    def start_processing():
        """Let a processor run in this process; see ITaskService.  Manage.

        That is not undone with the transaction; nor is what `stop_processing`
        does.
        """

    def stop_processing():
        """Let none run in this process; see ITaskService.  Manage."""

    def remove(jobid):
        """See ITaskService.  Manage."""

    def copy(jobid):
        """See ITaskService.  Manage."""

    def clean(status=(CANCELLED, ERROR, COMPLETED)):
        """See ITaskService.  Return how many jobs there were.  Manage."""

    def update_cron(jobid, minute=(), hour=(), dayOfMonth=(), month=(),
                    dayOfWeek=(), timezone=None):
        """Give a cron job another pattern, and another next time.  Manage.

        See ICronJob.update.  Raise ValueError for a job that runs once, and
        for one that the application declares: it is changed there.
        """

    def add_cron(name, minute=(), hour=(), dayOfMonth=(), month=(),
                 dayOfWeek=(), delay=None, timezone=None):
        """Add a cron job.  Manage.

        name -- one of those that `IManagement.sources` has; it is run
            without arguments, as whoever adds it.

        delay -- seconds, more than 0, after which it is run once; instead of
            a pattern.

        See ICronJob.update for the others.  Return its id.  Raise ValueError
        for another name, and for a bad pattern.
        """

    def requeue_some(after=None, as_of=None, deadline=None, limit=500,
                     **selection):
        """Requeue some of the jobs that are selected: an ISlice.  Operate.

        after -- the `after` of the slice before.
        as_of -- see `ITaskService.find`: that of the page that somebody has
            seen who wants this; so nothing is hit that was not there then.
        deadline -- seconds of the monotonic clock, after which the slice
            ends; default: in 2 seconds.
        limit -- int, to how many jobs it is done at most.
        selection -- status, task, function, since, until, principal and
            errorClass, see `ITaskService.find`.

        Commit after each slice, and go on with its `after` until that is
        None.  A slice that met a conflict is done again, as a whole.
        """

    def cancel_some(after=None, as_of=None, deadline=None, limit=500,
                    **selection):
        """Cancel some of the jobs: see `requeue_some`.  Operate."""

    def remove_some(after=None, as_of=None, deadline=None, limit=500,
                    **selection):
        """Remove some of the jobs: see `requeue_some`.  Manage."""

    def actions():
        """Return what was done, the last first: a list of IAction.  Manage.

        The last 500.  Slices of one selection are one action.
        """


class IWorkerRecords(zope.interface.Interface):
    """The records of those who claim and run the jobs of a service.

    worker_id -- str, ``host:pid:thread:token``; the token differs for any two
        workers.
    """

    def enter(worker_id, now=None, unclaimed=False):
        """Keep a record of a worker, though it claims nothing.

        unclaimed -- whether it runs jobs that it has not claimed.
        """

    def beat(worker_id, now=None):
        """Write into the record of a worker that it lives, if there is one.
        """

    def sign(worker_id, now=None, facts=None, memory=None):
        """Keep a record of a worker, and that it lives.

        facts -- what people are told of it: a dict with `host` (str), `pid`
            (int), `kind` (str, the class of its processor), `threads` (int)
            and `started` (POSIX seconds); and what else others of its kind
            are to know.
        memory -- megabytes that its process uses.

        Return the persistent object that is written for that: after the
        commit its `_p_serial` tells when it was, by the storage's clock.
        """

    def measure(worker_id, number, slices, now=None):
        """Store what a worker has counted, if it has a record.

        number -- int; slices that come again under the same number are
            stored already.
        slices -- list of measure.Slice, by the minute.

        How many jobs wait, and for how long, is looked up and stored, too.
        """

    def signs_of_life():
        """Return a mapping: the id of each worker with a record, and a value.

        The value is another one whenever the worker was heard of.  Of one
        whose record cannot be read it stays the same: that one is gone.
        """

    def facts():
        """Return a mapping: the id of each worker, and its facts, see `sign`.

        An empty dict if it has told none; nothing of one whose record cannot
        be read.
        """

    def turns():
        """Return a mapping: the ids of workers that run jobs unclaimed.

        The value of each is another one as soon as it does not run any more
        what it ran before, or has claimed it.
        """

    def is_own(worker_id, jobid):
        """Return whether a job is of this worker's share; see `claim`."""

    def claimed_ids(worker_id):
        """Return the ids of the jobs a worker has claimed."""

    def put_last(worker_id, jobids):
        """Remember that a worker begins some jobs after all others, if ever.

        See `at_once` of `claim`: it counts from the first one on.
        """

    def has_lost(worker_id):
        """Return whether a worker has claimed a job whose process died."""

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


class IUpkeep(zope.interface.Interface):
    """What has to be done for a service now and then."""

    def prune(limit, now=None, worker_id=None):
        """Remove up to `limit` jobs that were kept long enough.

        A cron job that is held stays: nobody would run it any more.

        worker_id -- of whose share of the lanes, see `claim`; by default of
            all lanes.

        Return how many there were.
        """

    def look_after(now=None):
        """See to jobs that were undone, copied or lost, and to lanes.

        `prune` does it when there is little else to do.
        """

    def correct_schedule(now=None):
        """Give jobs another time that were scheduled by a wrong clock.

        Cron jobs, and those that wait for another attempt.  What a caller has
        delayed is left alone: nobody knows how long was meant.
        """

    def hold_copies(now=None):
        """Hold the jobs that wait, and were copied together with the service.

        Processors do so when they meet one.  In another database they could
        not tell it from others any more.
        """


class IJobExecution(zope.interface.Interface):
    """What a processor asks of a service: ``IJobExecution(service)``.

    An adapter that is not stored, good for the transaction in which it was
    made.  Every method works in that transaction and commits nothing.  Times
    are POSIX seconds, by default the current one.
    """

    service = zope.schema.Object(
        title='Service',
        description='The service itself.',
        schema=ITaskService,
        readonly=True)

    workers = zope.schema.Object(
        title='Workers',
        description='Who claims and runs the jobs.',
        schema=IWorkerRecords,
        readonly=True)

    upkeep = zope.schema.Object(
        title='Upkeep',
        description='What has to be done now and then.',
        schema=IUpkeep,
        readonly=True)

    def claim(worker_id, limit, now=None, at_once=None, scheduled=True,
              may_die=None, own=False):
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
        own -- whether to claim new jobs from this worker's share of the lanes
            as long as any wait there, so that workers do not meet.  A job of
            higher priority goes first wherever it is.

        Of these jobs a worker gets only one at a time: it may die of that,
        too.

        Return a list of IClaim.  Of two who claim the same job the second
        gets a ConflictError on commit.
        """

    def claim_job(worker_id, jobid, now=None, early=False):
        """Claim the job of an id, whatever waits before it.

        early -- whether a person wants it now: also before it is due, and
            while it, or the service, is paused.

        Return a list with one IClaim; an empty one if there is no such job,
        or it cannot be run now: it runs, has ended, or is not due.
        """

    def take(now=None):
        """Take the next job out of the queue, for who runs it at once.

        No claim is made: until the transaction is over, nobody else sees it
        taken.  Call `put_back` before that.

        Return the IJob, or None.
        """

    def put_back(job, counted, now=None):
        """Keep a job where its status belongs that was taken; see `take`.

        counted -- the status that it had when it was taken.
        """

    def claimed(claim):
        """Return the job of a claim; ClaimLost if that is not good any more.
        """

    def admit(claim):
        """Raise ClaimLost if a job must not be run without a stored claim.

        claim -- IClaim, with an ISeat if it is not stored; that is told.  The
            worker was entered for that, and nobody has changed or claimed the
            job since it was added; and none of those that may have run it
            unclaimed is gone.  The claim is stored with the end of the run.
        """

    def is_fresh(jobid):
        """Return whether somebody may run a job unclaimed, or have run it.
        """

    def keep(claim):
        """Store the IClaim of a run that began without one, and goes on.

        Nothing happens if it is stored, or is not good any more.
        """

    def outdate(jobid, now=None):
        """Let nobody run a job unclaimed any more, if it is fresh.

        If it may have been run by one that is gone, that counts as a failed
        attempt.

        Return whether it was counted.
        """

    def complete(job, run, output, now=None):
        """Store the result of a job and that it is completed.

        run -- a `lovely.remotetask.job.Run`.

        Return the `lovely.remotetask.job.Rest` of the job, for `settle`, once
        this is committed; None if `settle` has more to do than to list it.
        """

    def fail(job, run, failure, now=None):
        """Store why the run of a job failed, and what becomes of it.

        run -- a `lovely.remotetask.job.Run`.
        failure -- IFailure.
        """

    def is_behind(worker_id=None):
        """Return whether there may be more to claim at once.

        worker_id -- whose share of the lanes to look into first.
        """

    def watched():
        """Return the oids of what is written where there is more to claim.

        A frozenset: as long as nothing of it is changed, and nothing becomes
        due, whoever could claim nothing cannot claim now.  None if nobody can
        tell.
        """

    def has_due(now):
        """Return whether a job can be claimed that has waited for a time.

        One may be missed, for a while, that is behind others.
        """

    def next_due():
        """Return when the next job of the schedule is due, or None."""

    def commit_every():
        """Return how many short jobs to run in one transaction at most."""

    def max_size():
        """Return how many bytes an input or a result may take."""

    def logs_messages():
        """Return whether the log may show messages of exceptions."""

    def settle(worker_id, jobids, begun=(), now=None, interrupted=(),
               rests=()):
        """Drop claims whose jobs are not being run any more.

        begun -- those of the ids whose jobs were begun.  Where nobody has
            stored how that ended, it counts as a failed attempt, and the job
            waits: so no job is ever run again uncounted.
        interrupted -- those of the begun whose databases or process have
            failed meanwhile.  That counts, but not against the job, unless it
            happens again and again: it may be what the job does.
        rests -- a mapping of id to what `complete` has returned, for jobs
            that were completed under their claims, and committed.  These need
            not be loaded within 5 seconds of that.
        """


class IProcessor(zope.interface.Interface):
    """Takes the jobs of one service, and runs them or has them run.

    All that the package calls is here; docs/howto/extending.rst shows one that
    is written by it.  What it asks of its service is `IJobExecution`.

    Its life: a factory makes it; who starts it says where the service is
    stored; then `start`, and `added` again and again; at the end `stop`,
    `join` and `close`, each called once at least, also if `start` has
    failed.  Any thread may call them, and read the attributes.
    """

    db = zope.interface.Attribute(
        'The ZODB.DB that holds the root folder: that of the factory.')

    servicePath = zope.schema.List(
        title='Service path',
        description='The names from the root folder to the service; that of '
                    'the factory, until the service is found elsewhere.',
        value_type=zope.schema.TextLine())

    place = zope.interface.Attribute(
        'Where the service itself is stored, whatever it is called: a pair, '
        'the ZODB.DB and the object id. None while that is not known: then '
        'the processor is told of all jobs. Whoever starts it sets it, if '
        'it knows.')

    running = zope.schema.Bool(
        title='Running',
        description='Whether the processor goes on taking jobs: its thread '
                    'lives, or is about to begin. False once it is stopped.',
        readonly=True)

    trouble = zope.schema.TextLine(
        title='Trouble',
        description='Why it cannot do all of its work at the moment; None if '
                    'it can. Cheap to read, from any thread.',
        readonly=True,
        required=False)

    counts_cut_off = zope.schema.Bool(
        title='Counts what is cut off',
        description='Whether jobs that are still run when the processor is '
                    'closed count as if their process had been killed: one '
                    'of them may be why it ends. Otherwise nothing is '
                    'counted. Whoever stops the processor sets it.',
        default=False)

    def __call__():
        """Take and run jobs until the processor is stopped."""

    def processNext(jobid=None):
        """Claim and run one job, or run the given one, already claimed.

        Return whether there was a job.
        """

    def begin_after(txn):
        """Take no job before a transaction has ended; called before `start`.

        txn -- a transaction of the one who starts it; it has changed what
            the processor would change, too.
        """

    def start():
        """Begin, in threads or processes of its own; do not wait for them.

        Raise what keeps it from that.  Then another one may be started.
        """

    def added(jobs):
        """Remember that jobs were added or wait again, and are committed.

        jobs -- list of IJob; empty if it is not known which.

        Called in the process and the thread that has committed them; must
        not fail, nor take long.
        """

    def stop():
        """Take no more jobs; what is being run goes on.  Do not wait."""

    def join(deadline):
        """Wait until nothing runs.

        deadline -- seconds of the monotonic clock; do not wait any longer.
        """

    def close(timeout=30.0):
        """Commit nothing any more, and hand back what is claimed.

        timeout -- seconds to wait for commits that have begun.

        Called after `stop`, when the process ends.  A job that is run then
        is queued again by others, and must not be completed here.
        """


class IProcessorFactory(zope.interface.Interface):
    """Makes processors; a utility whose name ``async:service`` refers to."""

    runsJobs = zope.schema.Bool(
        title='Runs jobs',
        description='Whether its processors run jobs in their own process. '
                    'Those that do not tell somebody else of them: a web '
                    'application starts them in any case, and async-worker '
                    'refuses to run their services.')

    def __call__(db, servicePath, waitTime=1.0, maxThreads=1):
        """Return an IProcessor; nothing runs yet.

        db -- the ZODB.DB that holds the root folder.
        servicePath -- list of str, from the root folder to the service.
        waitTime -- seconds an idle processor waits at most.
        maxThreads -- int, how many jobs may run at a time.

        Raise ValueError if an argument makes no sense.
        """

    def check(maxThreads):
        """Raise ValueError if this kind of processor cannot have so many."""


class IChannel(zope.interface.Interface):
    """The way on which a database server takes word from process to process.

    Who commits a job to a database says so on its channel, and processors
    that wait in other processes hear it.  It only saves time: what was not
    heard is found by looking for it.

    An adapter from the storage; for RelStorage on PostgreSQL there is one.
    Where there is none, processors look for jobs again and again.
    """

    def open():
        """Return an IChannelConnection, a new one.

        May take long, and raise anything.
        """


class IChannelConnection(zope.interface.Interface):
    """One connection to a channel; one thread has it.

    Each call may raise anything.  Then the connection is closed, and another
    one is opened later.
    """

    def listen():
        """Receive from now on what others send."""

    def fileno():
        """Return a descriptor; it is readable if something has come."""

    def receive():
        """Return what has come by now: an iterable of str.  Do not wait.

        Called when the descriptor is readable.  While this one listens, also
        after other calls: a driver may have read something along with their
        answers, and then the descriptor tells nothing.  Any text may come, and
        what this connection has sent need not be.
        """

    def send(words):
        """Send a list of str to all that listen; they are visible at once.
        """

    def newest():
        """Return what is another value after each commit; one request."""

    def close():
        """Give the connection up, in whatever state."""


class IApplicationServer(zope.interface.Interface):
    """What is known here of the application server; a utility.

    Where the content is, who calls, and how a process is started: all that
    the package must know to run on the Zope Toolkit, or on something else.

    *Opaque* values come from it and are given back to it; they are stored in
    between, so they are picklable or persistent.  Nobody else looks into
    them.
    """

    # The content

    def root(connection):
        """Return the root folder, with what a run needs around it.

        connection -- an open connection of the database that holds it.

        None if there is none.
        """

    def find(root, path):
        """Return the object at a path below a root folder, None if none is.

        path -- names, as `path` returns them.
        """

    def path(location):
        """Return the path of an object: a list of names, from the root.

        Raise ValueError for one that is within itself.
        """

    def root_database(location):
        """Return the ZODB.DB with the root folder above an object.

        The object may be stored in another one, to which the root folder's
        refers.  None if the root is not stored yet.
        """

    def names(location):
        """Return an iterable of the names of what lies in an object.

        None if nothing can lie in it.
        """

    def is_site(location):
        """Return whether services can be registered in an object."""

    # Services

    def visible_service(name):
        """Return the ITaskService of a name, as the caller sees it, or None.

        None, too, for one that is stored, but lies in no folder: nobody would
        run its jobs.
        """

    def service_of(site, name):
        """Return the ITaskService that a site itself has registered, or None.

        Others may be seen from there.
        """

    def services(site):
        """Return all services that a site itself has registered.

        A list of pairs: the name, and the ITaskService.
        """

    def folder(site):
        """Return where the services of a site are stored.

        A container: names to objects.  It is made if there is none.
        """

    def register(site, service, name):
        """Register a service, which is stored, in a site."""

    # Who calls, and where

    def principals():
        """Return those who make the current call: opaque, a hashable value.

        A value that is false stands for nobody.  Raise TypeError if one of
        them cannot be stored.
        """

    def principal_id(principals):
        """Return the id of the first of some principals, for people, or None.

        str.  Together with `principals_of` also what is stored of the usual
        caller: somebody who is known by an id.
        """

    def principals_of(id):
        """Return what `principals` returns for one who is known by an id.

        id -- str or None.
        """

    def user_id():
        """Return the id of the current principal, for people, or None.

        Never raise.
        """

    def site():
        """Return the current site: opaque, None if there is none."""

    def is_reachable(site, service):
        """Return whether a site is still there.  Raise anything.

        site -- what `site` has returned, when something was called.
        service -- that which has stored it; of the current connection.
        """

    def acting(principals, site, service):
        """Return a context manager: be somewhere, as somebody.

        principals, site, service -- see above.

        Raise TaskError if one of the principals no longer exists, CannotRun
        if the installed code does not know what is stored of them.
        """

    def around_job(service):
        """Return a context manager: run a job of a service.

        As nobody, who may do nothing; where utilities are found that the
        service sees.  What was before is there again afterwards.
        """

    def is_in_job():
        """Return whether the caller is within `around_job` or `acting`."""

    # Arguments

    def reference(value):
        """Return what to store of an argument that is not stored itself.

        Opaque; None for what is stored as it is.

        value -- any object that is no plain value nor container.
        """

    def referred(reference, service):
        """Return the object of a reference.  Raise anything."""

    # Processes

    def settings(product):
        """Return what the configuration says of a product: str to str."""

    def read(path):
        """Return the IConfiguration of a file; nothing is opened yet.

        Raise ZConfig.ConfigurationError or OSError if it cannot be read.
        """


class IConfiguration(zope.interface.Interface):
    """What the file says by which an application server is started."""

    uses_file_storage = zope.interface.Attribute(
        'Whether only one process at a time can open the databases.')

    def configure():
        """Make the settings known, and execute the ZCML; once."""

    def open():
        """Open the databases, configured before.  Return the first one.

        It holds the root folder, which is made if there is none.  An
        IDatabasesOpened is sent.
        """

    def connect(read_only):
        """Open the databases, configured before, and nothing else.

        Nothing is made or brought up to date in them, no event is sent.

        read_only -- whether nothing can be written, either.

        Return the first one.
        """

    def start():
        """Do both for a process that is made for it; with its logging.

        Return the ZODB.DB with the root folder.
        """


class IDatabasesOpened(zope.interface.Interface):
    """A process has opened its databases; there is a root folder.

    The implementation of IApplicationServer sends it in each process, also
    where jobs alone are run.
    """

    database = zope.interface.Attribute('The ZODB.DB with the root folder.')


class IServerStarted(zope.interface.Interface):
    """An application server is about to answer requests.

    Sent by the implementation of IApplicationServer, after IDatabasesOpened.
    """

    database = zope.interface.Attribute(
        'The ZODB.DB with the root folder; None if it is not known.')


class IJobEvent(zope.interface.Interface):
    """Something has become of a job; sent by `zope.event`.

    Plain values alone: nothing of a transaction that is over.  Events of
    runs are sent in the process and the thread that has run the job, after
    that is committed; the others, in the thread that has committed it.

    A subscriber has no part in the job.  It is called in a transaction of its
    own, without a site, as nobody; what it has not committed is aborted, and
    if it fails, the log says so.  A slow one delays the next job of its
    thread.  Register it globally, as ``<subscriber>`` does: no site is asked.
    """

    path = zope.interface.Attribute(
        'Tuple of str: the names from the root folder to the service.')

    job = zope.interface.Attribute('The id of the job (int).')

    function = zope.interface.Attribute(
        'What it runs, for people: the dotted name of its function, or the '
        'name of its task. None where that was not looked up.')


class IJobAdded(IJobEvent):
    """A job was added, and that is committed."""


class IJobCancelled(IJobEvent):
    """A job that was waiting was cancelled, and that is committed."""


class IJobBegan(IJobEvent):
    """The function of a job is about to be called.

    That it is `processing` is committed, unless Celery runs it without a
    claim.  The transaction of the job is put aside meanwhile.

    Where several jobs share a transaction (`commit_every`) and have to be
    called again, this is sent once more, for the same attempt.
    """

    attempt = zope.interface.Attribute('Counts the runs of the job, from 1.')

    processor = zope.interface.Attribute('``host:pid:thread``.')


class IJobRun(IJobBegan):
    """A run has ended, and that is committed."""

    duration = zope.interface.Attribute('Seconds (float).')

    status = zope.interface.Attribute(
        'That of the job now: a cron job waits for its next time.')

    failure = zope.interface.Attribute('IFailureTexts; None without one.')

    committed = zope.interface.Attribute(
        'Whether the effects of the function are stored. With a failure: what '
        'failed did so after the commit, a hook say.')

    aborted = zope.interface.Attribute(
        'Whether the function has aborted its transaction, or begun another '
        'one, and has returned nevertheless: what it had changed before is '
        'not stored.')

    waited = zope.interface.Attribute(
        'For how many seconds the job had waited since it was due, or added '
        '(float); None where that is not known: it was changed since then.')

    worker = zope.interface.Attribute(
        'The id of the worker whose claim it was, see `IJobExecution.claim`.')


class IJobEnded(IJobRun):
    """A run has ended, and is not tried again.

    A job has completed, or is in error or held; of a cron job, that is the
    end until its next time.
    """


class IJobRetried(IJobRun):
    """A run has failed, and the job waits to be tried again."""


class IJobLost(IJobEvent):
    """Nobody has stored how a run ended.

    Whoever ran the job is gone: sent in the process that has noticed, and
    has committed that the run counts.  Or the end could not be stored: sent
    in the process that ran the job.  It waits to be run again; or is in
    error, if this was its last attempt.
    """

    status = zope.interface.Attribute('That of the job now.')


class IActionTaken(zope.interface.Interface):
    """Somebody has done something to a service, and that is committed.

    See IJobEvent for how it is sent, and who is told.
    """

    path = zope.interface.Attribute(
        'Tuple of str: the names from the root folder to the service.')

    action = zope.interface.Attribute('IAction.')


class IFailureTexts(zope.interface.Interface):
    """What is said of a failure: plain texts, see IFailure."""

    error = zope.interface.Attribute('The message of the exception.')

    errorClass = zope.interface.Attribute('Its class, dotted.')

    traceback = zope.interface.Attribute('Its full traceback text.')

    frames = zope.interface.Attribute('Its traceback without any message.')

    place = zope.interface.Attribute("Where: ``file:line, function``, or ''.")

    is_private = zope.interface.Attribute(
        'Whether the service wants no messages to be shown (log_messages): '
        'show only class, frames and place then.')

    is_transient = zope.interface.Attribute(
        'Whether the error is a passing one, like a conflict: such a run is '
        'tried again soon, and does not count as a failure.')


class IJobTexts(zope.interface.Interface):
    """What people are told of a job: an adapter that is not stored.

    Texts of limited length.  Nothing of the application is loaded for them.
    """

    arguments = zope.interface.Attribute(
        'List of pairs: what to call an argument, and its repr. Whoever asks '
        'for it checks that its reader may see `IJob.input`.')

    result = zope.interface.Attribute(
        'The repr of the result. Whoever asks for it checks that its reader '
        'may see `IJob.output`.')


class IJobPanel(zope.interface.Interface):
    """Something of the application on the page of a job.

    A subscription adapter from the job and the request; it is asked in the
    security of the reader, as the job is.  Whoever may not see what it tells
    sees nothing of it; and of one that raises, that it did.
    """

    title = zope.interface.Attribute('A text, or a message.')

    def lines():
        """Yield pairs of texts: what it is, and what it is like.

        They are shown as they are; nothing in them is HTML.
        """


class IManagement(zope.interface.Interface):
    """What the pages and commands ask of a service besides ITaskService.

    An adapter that is not stored.  It checks no permissions: who uses it
    does.
    """

    is_current = zope.interface.Attribute(
        'Whether the service can be read as it is stored: earlier code may '
        'have stored it, and it would be written when it is first used.')

    def make_token(principal_id):
        """Return the token (str) for the forms that one principal is shown.

        It is kept nowhere: it is made from the id and a secret of the
        service.  Empty where there is no secret.
        """

    def accepts_token(principal_id, token):
        """Return whether a token, of any type, is that of a principal."""

    def sources():
        """Return what people may choose when they add a cron job.

        A mapping of names (str) to what `ITaskService.addCronJob` takes as
        its task: names of tasks, and IJobSource.
        """

    def foresee(pattern, number):
        """Return when a cron job with a pattern would run.

        pattern -- keyword arguments of ICronJob.update.
        number -- how many times, at most: one that is run once has one.

        A pair: the pattern, as it would be stored; and a list of POSIX
        seconds (int), ascending, from now on.  Raise ValueError for what is
        no pattern.
        """

    def removed_at(job):
        """Return when a job is going to be removed, in POSIX seconds.

        None for a job that has not ended, or is kept for ever.
        """

    def matching(jobids, **selection):
        """Return those of some ids whose jobs are selected now: a list.

        jobids -- ints; unknown ones are left out.
        selection -- see `ITaskService.find`.

        For whoever has seen jobs earlier, and wants to change them only if
        they are still what was seen.  Raise ValueError for a bad selection.
        """

    def panels(job, request):
        """Return what the application tells of a job: a list of dicts.

        title -- str, or a message.
        lines -- list of pairs of them, see `IJobPanel.lines`.
        failed -- the class of the exception of a panel that has raised one,
            else None.

        job -- IJob, in the security of the reader: what that one may not see
            is left out.
        """

    def workers():
        """Return a list of dicts, one for each worker that has a record.

        id -- str, see `IJobExecution.claim`.
        processor -- ``host:pid:thread``.
        heartbeat -- POSIX seconds by the worker's clock; None: not known.
        claims -- list of pairs: job id, and POSIX seconds of the claim.
        memory -- megabytes of its process, when it was heard of last.
        host, pid, kind, threads, started -- see IWorkerRecords.sign.

        None stands for what is not known.
        """

    def worker_state(worker, now):
        """Return how a worker does: ``'alive'``, ``'late'`` or ``'gone'``.

        worker -- one of `workers`.
        now -- POSIX seconds.

        It is alive if it was heard of in the last minute, as those are that
        have nothing to do; it is gone after three minutes, for clocks differ.
        """

    def living_workers(now):
        """Return how many workers are not gone, see `worker_state`.

        now -- POSIX seconds.
        """

    def history(level, since, seconds=None):
        """Return what was counted of the runs: a list of measure.Slice.

        level -- 0: by the minute, for eight hours; 1: by ten minutes, for
            three days; 2: by the hour, for forty days.
        since -- POSIX seconds.
        seconds -- how long slices are to be, if longer than those.

        The oldest comes first.  Where there is no slice, there was no worker.
        Those that work tell of it once a minute, about.
        """

    def total():
        """Return all that was ever counted: measure.Functions.

        It only grows, unless what is stored of it cannot be read.
        """


class IStartRemoteTasksEvent(zope.interface.Interface):
    """The services that the product configuration names are to be started."""

    serviceNames = zope.schema.List(
        title='Services to start',
        description='``site@service`` names, as in zope.conf.',
        default=[],
        required=False,
        value_type=zope.schema.TextLine())
