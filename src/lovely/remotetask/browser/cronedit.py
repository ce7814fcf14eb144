"""Giving a cron job another pattern."""

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser.cronform import CronForm
from lovely.remotetask.browser.cronform import CronPosted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


NAME = 'pattern'


def cron_job(service, jobid):
    """Return a job that runs again and again.  Raise Problem."""
    job = service.jobs.get(jobid)
    if not interfaces.ICronJob.providedBy(job) or job.delay is not None:
        raise Problem(404, _(
            'Job ${jobid} is none that runs again and again.'), jobid=jobid)
    if job.name is not None:
        raise Problem(409, _(
            'Job ${jobid} is declared as "${name}": it is changed where that '
            'is done, in ZCML.'), jobid=jobid, name=job.name)
    return job


class CronEdit(CronForm):
    """The form."""

    title = _('Pattern')
    depth = 3
    address = NAME
    back = '../../crons'

    def __init__(self, context, request, jobid):
        super().__init__(context, request)
        self.jobid = jobid

    def texts(self):
        """See CronForm; at first, the pattern as it is."""
        if self.is_filled:
            return super().texts()
        job = cron_job(self.service, self.jobid)
        return {**cronwords.fields({
            name: getattr(job, name) for name in cronwords.FIELDS}),
            'timezone': job.timezone or ''}

    def data(self):
        """See CronForm; and which job it is."""
        job = cron_job(self.service, self.jobid)
        return {**super().data(), 'id': str(job.id),
                'function': job.function or job.task}

    def heading(self, data):
        """Return the Markup of what the form is about."""
        return self.function(data['function'], 80)


class CronUpdate(CronPosted):
    """Takes what the form says."""

    depth = 3

    def __init__(self, context, request, jobid):
        super().__init__(context, request)
        self.jobid = jobid

    def form_page(self):
        """See CronPosted."""
        return CronEdit(self.context, self.request, self.jobid)

    def act(self):
        """See CronPosted."""
        cron_job(self.service, self.jobid)
        return super().act()

    def keep(self, pattern):
        """See CronPosted."""
        self.operations.update_cron(self.jobid, **pattern)
        return self.jobid

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        return '../../crons'
