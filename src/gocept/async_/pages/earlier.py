"""The addresses that lovely.remotetask 0.5 had, and where they lead now.

There ``SERVICE/jobs.html`` was the list of jobs, and ``SERVICE/37`` a job:
the views of an application for its jobs are found below that, as they were.
"""

from urllib.parse import unquote

import zope.component
import zope.interface
from zope.publisher.defaultview import queryDefaultViewName
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.proxy import ProxyFactory

from lovely.remotetask.browser import environment
from lovely.remotetask.browser.cronadd import NAME as ADD
from lovely.remotetask.browser.cronedit import NAME as PATTERN
from lovely.remotetask.browser.page import PUBLIC
from lovely.remotetask.browser.place import jobid_of
from lovely.remotetask.interfaces import ICronJob
from lovely.remotetask.interfaces import IJob
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.interfaces import ITaskService


DEFAULT = 'index.html'

# Views of a service: what they were called, and the page below its view.
OF_SERVICE = {DEFAULT: '', 'jobs.html': 'jobs', 'addcronjob.html': ADD}


def of_job(job):
    """Return the page of a job, below the view of its service."""
    return f'jobs/{job.id}'


def of_pattern(job):
    """Return the page where the pattern of a cron job is changed.

    A job that runs once, some time later, has none.
    """
    page = of_job(job)
    return page if job.delay is not None else f'{page}/{PATTERN}'


# Views of a job: for what they are, and what returns the page.
OF_JOB = {DEFAULT: (IJob, of_job), 'detail': (IJob, of_job),
          'editjob': (ICronJob, of_pattern)}


def registrations(name):
    """Yield what is registered: factory, for what, what it is, its name.

    name -- of the view that the pages of a service are.
    """
    def service_lead(page):
        return lambda service, request: Lead(
            service, request, f'@@{name}/{page}', 1)

    def job_lead(page):
        return lambda job, request: Lead(
            job, request, f'@@{name}/{page(job)}', 2)

    def traverser(service, request):
        return ServiceTraverser(service, request, name)

    for old, page in OF_SERVICE.items():
        yield service_lead(page), ITaskService, zope.interface.Interface, old
    for old, (for_, page) in OF_JOB.items():
        yield job_lead(page), for_, zope.interface.Interface, old
    yield traverser, ITaskService, IBrowserPublisher, ''
    yield Traverser, IJob, IBrowserPublisher, ''


@zope.interface.implementer(IBrowserPublisher)
class Traverser:
    """Goes to views, and to ours if the application says nothing else."""

    def __init__(self, context, request):
        self.context = context
        self.request = request

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        view = zope.component.queryMultiAdapter(
            (self.context, request), name=name)
        if view is None:
            raise NotFound(self.context, name, request)
        return view

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self.context, (
            queryDefaultViewName(self.context, request, DEFAULT),)


class ServiceTraverser(Traverser):
    """Goes from a service to its jobs, too."""

    def __init__(self, service, request, name):
        super().__init__(service, request)
        self._name = name

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        jobid = jobid_of(name)
        if jobid is None:
            return super().publishTraverse(request, name)
        # The view of a service tells why it has no jobs: to read those of one
        # that earlier code has stored would write it.
        service = ProxyFactory(self.context)
        management = IManagement(service, None)
        job = None
        if management is None or management.is_current:
            job = service.jobs.get(jobid)
        if job is not None:
            return job
        return Lead(service, request, f'@@{self._name}/jobs/{jobid}', 1)


@zope.interface.implementer(IBrowserPublisher)
class Lead:
    """An address of earlier code; it leads to where the page is now."""

    # Whether somebody may see the page is asked there.
    __Security_checker__ = PUBLIC

    def __init__(self, context, request, target, steps):
        """Make it.

        target -- relative to the service.
        steps -- how many names the whole address has after the service.
        """
        self.context = self.__parent__ = context
        self.request = request
        self._target = target
        self._steps = steps

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self, ()

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        raise NotFound(self.context, name, request)

    def __call__(self):
        # A base that the publisher puts in would be another one.
        self.request.response.setBase('')
        return self.request.response.redirect(
            self._way_to_service() + self._target)

    def _way_to_service(self):
        """Return the address of the service, relative to what was asked for.

        Only that holds behind any proxy.
        """
        path = environment.path(self.request)
        *_, service, last = str(self.request.URL).split('/')
        # The name of a default view is not in the address.
        is_added = unquote(last) != path.rstrip('/').rpartition('/')[2]
        up = self._steps - is_added + path.endswith('/') - 1
        return '../' * up if up >= 0 else f'{service}/'
