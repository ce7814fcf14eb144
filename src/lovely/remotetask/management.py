"""What those who look after a service ask of it, besides ITaskService."""

import hmac
import math

import zope.component
import zope.interface
from zope.security.interfaces import Unauthorized
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask import interfaces
from lovely.remotetask.cron import Pattern
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.job import CronJob
from lovely.remotetask.measure import joined
from lovely.remotetask.policy import policy_of
from lovely.remotetask.ruling import ruled
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import meter
from lovely.remotetask.storage import upgrade
from lovely.remotetask.storage.selection import Selection


log = journal(__name__)

# Seconds after a sign of life for which a worker is alive; and for which it
# is taken to be there, for clocks differ.
ALIVE = 60
GONE = 180

# What a worker tells of itself, see IWorkerRecords.sign.
FACTS = ('host', 'pid', 'kind', 'threads', 'started')


def _needs_no_input(task):
    task = removeSecurityProxy(task)
    return not interfaces.IInputCheck.providedBy(task) or not (
        outcome_of(task.checkInput, None).failed)


@zope.component.adapter(interfaces.ITaskService)
@zope.interface.implementer(interfaces.IManagement)
class Management:
    """See IManagement."""

    def __init__(self, service):
        self._service = removeSecurityProxy(service)

    @property
    def is_current(self):
        """See IManagement."""
        return self._service.schema >= upgrade.SCHEMA

    def make_token(self, principal_id):
        """See IManagement."""
        secret = self._service.store.secret
        if secret is None:
            return ''
        return hmac.new(
            secret, principal_id.encode('utf-8', 'surrogatepass'),
            'sha256').hexdigest()

    def accepts_token(self, principal_id, token):
        """See IManagement."""
        expected = self.make_token(principal_id)
        return bool(expected) and isinstance(token, str) and (
            hmac.compare_digest(expected.encode(), token.encode(
                'utf-8', 'surrogatepass')))

    def sources(self):
        """See IManagement."""
        found = {name: name for name, task
                 in self._service.getAvailableTasks().items()
                 if _needs_no_input(task)}
        for each in zope.component.subscribers(
                (self._service,), interfaces.IJobSources):
            found = {**found, **each.sources()}
        return found

    def foresee(self, pattern, number):
        """See IManagement."""
        # The job is not added: it knows what is to be known of a pattern.
        job = CronJob(0, '', None, **pattern)
        times = [job.timeOfNextCall()]
        while len(times) < number and job.delay is None:
            times.append(job.timeOfNextCall(times[-1]))
        return {name: getattr(job, name) for name in Pattern._fields}, times

    def removed_at(self, job):
        """See IManagement."""
        job = removeSecurityProxy(job)
        if (job.completed is None or job.status not in (*ENDED, HELD)
                or job.waits_for_person):
            return None
        kept = ruled(policy_of(self._service), 'retention_of', job.status)
        return job.completed.timestamp() + kept if math.isfinite(kept) \
            else None

    def matching(self, jobids, **selection):
        """See IManagement."""
        selected = Selection(**selection)
        selected.check()
        jobs, store = self._service.jobs, self._service.store
        found = ((jobid, jobs.get(jobid)) for jobid in jobids)
        return [jobid for jobid, job in found
                if job is not None and selected.matches(store, job)]

    def workers(self):
        """See IManagement."""
        store = self._service.store
        return [_told_of(store, found) for found in crew.workers(store)]

    def worker_state(self, worker, now):
        """See IManagement."""
        heartbeat = worker['heartbeat']
        if heartbeat is None or now - heartbeat >= GONE:
            return 'gone'
        return 'alive' if now - heartbeat <= ALIVE else 'late'

    def living_workers(self, now):
        """See IManagement."""
        return sum(self.worker_state(each, now) != 'gone'
                   for each in self.workers())

    def panels(self, job, request):
        """See IManagement."""
        factories = zope.component.getSiteManager().adapters.subscriptions(
            [zope.interface.providedBy(each) for each in (job, request)],
            interfaces.IJobPanel)
        found = [_panel(factory, job, request) for factory in factories]
        return [each for each in found if each is not None]

    def history(self, level, since, seconds=None):
        """See IManagement."""
        found = meter.slices(
            self._service.store, self._meters(), level, since)
        return found if seconds is None else joined(found, seconds)

    def total(self):
        """See IManagement."""
        return meter.total(self._service.store, self._meters())

    def _meters(self):
        store = self._service.store
        return meter.all_of(store, crew.workers(store))


def _panel(factory, job, request):
    """Return what a panel tells of a job, None if that is nothing."""
    found = outcome_of(_asked, factory, job, request)
    if not found.failed:
        return found.value
    if found.is_a(Unauthorized):
        return None
    # The message of the exception may hold arguments of the job.
    log.warning('a panel of the page of job %s failed, and is asked again for '
                'the next page: %s at %s', removeSecurityProxy(job).id,
                found.errorClass, escaped(found.place))
    name = outcome_of(getattr, factory, '__name__', '').value
    return {'title': name if type(name) is str else '', 'lines': [],
            'failed': found.errorClass}


def _asked(factory, job, request):
    panel = factory(job, request)
    if panel is None:
        return None
    return {'title': _text(panel.title), 'failed': None,
            'lines': [(_text(name), _text(value))
                      for name, value in panel.lines()]}


def _text(value):
    # A message stays one, to be translated.
    return value if isinstance(value, str) else str(value)


def _told_of(store, worker):
    """Return what people are told of a Worker."""
    facts = crew.facts(worker)
    return {
        'id': worker.id,
        'processor': worker.processor,
        'heartbeat': store.read(
            lambda: float(worker.heartbeat.time)).value,
        'memory': store.read(lambda: worker.heartbeat.memory).value,
        'claims': [(jobid, claim[0])
                   for jobid, claim in worker.claims.items()],
        **{name: facts.get(name) for name in FACTS}}
