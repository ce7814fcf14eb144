"""What people do who look after a service; it is remembered who did what."""

import zope.component
import zope.interface

from lovely.remotetask import bulk
from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.cron import check_delay
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.number import shown
from lovely.remotetask.running import events
from lovely.remotetask.running.server import server
from lovely.remotetask.storage import actions
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage.current import current


log = journal(__name__)

# What is kept of a name that somebody has given, in characters.
NAME_SIZE = 200


@zope.component.adapter(interfaces.ITaskService)
@zope.interface.implementer(interfaces.IOperations)
class Operations:
    """See IOperations.

    service -- a TaskService.
    who -- str, for whoever is no principal; default: the current principal.
    """

    def __init__(self, service, who=None):
        self.service = self.__parent__ = service
        self._who = who

    # One job

    def requeue(self, jobid):
        """See IOperations."""
        return self._on_job('requeue', jobid)

    def cancel(self, jobid):
        """See IOperations."""
        return self._on_job('cancel', jobid)

    def remove(self, jobid):
        """See IOperations."""
        return self._on_job('remove', jobid)

    def pause_job(self, jobid):
        """See IOperations."""
        return self._on_job('pause_job', jobid)

    def resume_job(self, jobid):
        """See IOperations."""
        return self._on_job('resume_job', jobid)

    def copy(self, jobid):
        """See IOperations."""
        copied = self.service.copy(jobid)
        self._remember('copy', jobid)
        return copied

    def run_now(self, jobid):
        """See IOperations."""
        self._cron_job(jobid)
        copied = self.service.copy(jobid)
        self._remember('run_now', jobid)
        return copied

    def add_cron(self, name, minute=(), hour=(), dayOfMonth=(), month=(),
                 dayOfWeek=(), delay=None, timezone=None):
        """See IOperations."""
        source = interfaces.IManagement(self.service).sources().get(name)
        if source is None:
            raise ValueError(
                f'{shown(name)} is neither a task nor a function that this '
                f'service runs without arguments.')
        if check_delay(delay) == 0:
            # To addCronJob, as published, that is no delay.
            raise ValueError(
                f'delay must be more than 0 seconds, not {shown(delay)}; '
                f'leave it out for a job that runs again and again.')
        jobid = self.service.addCronJob(
            source, None, minute, hour, dayOfMonth, month, dayOfWeek, delay,
            timezone)
        self._remember('add_cron', jobid)
        return jobid

    def update_cron(self, jobid, minute=(), hour=(), dayOfMonth=(), month=(),
                    dayOfWeek=(), timezone=None):
        """See IOperations."""
        current(self.service)
        job = self._cron_job(jobid)
        if job.name is not None:
            raise ValueError(
                f'Job {jobid} is declared as {shown(job.name)}: change it '
                f'where that is done, in ZCML probably.')
        job.update(
            minute, hour, dayOfMonth, month, dayOfWeek, timezone=timezone)
        self.service.reschedule(jobid)
        self._remember('update_cron', jobid)

    def _cron_job(self, jobid):
        """Return a job that runs again and again, or raise ValueError."""
        # This raises KeyError for an unknown id.
        self.service.getStatus(jobid)
        job = self.service.jobs[jobid]
        if not job.recurring:
            raise ValueError(
                f'Job {jobid} is no cron job; only those are run now and '
                f'again, or get another pattern.')
        return job

    def _on_job(self, what, jobid):
        done = getattr(self.service, what)(jobid)
        if done:
            self._remember(what, jobid)
        return done

    # The service

    def pause(self):
        """See IOperations."""
        return self._set_paused('pause', True)

    def resume(self):
        """See IOperations."""
        return self._set_paused('resume', False)

    def _set_paused(self, what, paused):
        current(self.service)
        if self.service.paused == paused:
            return False
        self.service.paused = paused
        self._remember(what, number=0)
        return True

    def start_processing(self):
        """See IOperations."""
        current(self.service)
        self.service.startProcessing()
        self._remember('start_processing', number=0)

    def stop_processing(self):
        """See IOperations."""
        current(self.service)
        self.service.stopProcessing()
        self._remember('stop_processing', number=0)

    def clean(self, status=ENDED):
        """See IOperations."""
        status = cleaning.chosen(status)
        counts = self.service.counts()
        self.service.clean(status)
        number = sum(counts[name] for name in status)
        if number:
            self._remember('clean', selection=[
                ('status', name) for name in status], number=number)
        return number

    # Many jobs

    def requeue_some(self, after=None, as_of=None, deadline=None,
                     limit=bulk.SLICE, **selection):
        """See IOperations."""
        return self._some(
            'requeue', selection, after, as_of, deadline, limit)

    def cancel_some(self, after=None, as_of=None, deadline=None,
                    limit=bulk.SLICE, **selection):
        """See IOperations."""
        return self._some('cancel', selection, after, as_of, deadline, limit)

    def remove_some(self, after=None, as_of=None, deadline=None,
                    limit=bulk.SLICE, **selection):
        """See IOperations."""
        return self._some('remove', selection, after, as_of, deadline, limit)

    def _some(self, what, selection, *args):
        found = bulk.some(self.service, what, *args, **selection)
        if found.done:
            _, as_of, *_ = args
            self._remember(f'{what}_some', selection=[
                pair for pair in sorted({**selection, 'as_of': as_of}.items())
                if pair[1] is not None], number=found.done)
        return found

    # What was done

    def actions(self):
        """See IOperations."""
        return [action.part_of(self.service)
                for action in actions.newest(self.service.store)]

    def _remember(self, what, jobid=None, selection=(), number=1):
        who = server().user_id() if self._who is None else self._who
        action = actions.Action(
            moment.now(), _short(who), what, jobid,
            tuple((name, _short(value)) for name, value in selection), number)
        chunk = actions.add(self.service.store, action)
        told = tuple(server().path(self.service)), action
        if self.service._p_jar is None:
            return
        txn = self.service._p_jar.transaction_manager.get()
        txn.note(_told(*told))
        txn.addAfterCommitHook(_tell, (chunk, *told))


def _short(value):
    """Return what is kept of a value that somebody has given."""
    if value is None or type(value) in (int, float):
        return value
    return plain(str(value), NAME_SIZE)


def _told(path, action):
    """Return what the log and the transaction say of an Action."""
    where = '/'.join(path) + ('' if action.job is None else f'/{action.job}')
    parts = [f'{where}: {action.what}']
    if action.selection:
        parts.append(f'{action.number} jobs, ' + ' '.join(
            f'{name}={value}' for name, value in action.selection))
    parts.append(f'by {"nobody" if action.who is None else action.who}')
    return escaped(', '.join(parts))


def _tell(committed, chunk, path, action):
    """Tell of an Action, unless a savepoint before it was rolled back."""
    if committed and outcome_of(_is_stored, chunk, action).value:
        log.info('%s', _told(path, action))
        events.send(events.ActionTaken(path, action))


def _is_stored(chunk, action):
    return chunk._p_jar is not None and any(
        stored[0] == action.time and stored[2] == action.what
        for stored in chunk.actions)
