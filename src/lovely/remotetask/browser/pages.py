"""The way to each page of a service: the one table of what there is."""

import zope.interface
from zope.publisher.interfaces.browser import IBrowserPublisher

from lovely.remotetask.browser import assets
from lovely.remotetask.browser.auditpage import AuditPage
from lovely.remotetask.browser.bulkpage import BulkPage
from lovely.remotetask.browser.cronadd import CronAdd
from lovely.remotetask.browser.cronpage import CronPage
from lovely.remotetask.browser.joblist import JobList
from lovely.remotetask.browser.metricspage import MetricsPage
from lovely.remotetask.browser.missing import not_found
from lovely.remotetask.browser.page import PUBLIC
from lovely.remotetask.browser.serviceaction import KINDS
from lovely.remotetask.browser.serviceaction import ServiceAction
from lovely.remotetask.browser.servicepage import ServicePage
from lovely.remotetask.browser.workerpage import WorkerPage


# By the name in the address; each also as JSON, with ``.json`` at its end.
PAGES = {page.name: page for page in (
    ServicePage, JobList, CronPage, CronAdd, WorkerPage, MetricsPage,
    AuditPage, BulkPage)}


@zope.interface.implementer(IBrowserPublisher)
class Pages:
    """All pages of one service; what traversal goes through."""

    __Security_checker__ = PUBLIC

    def __init__(self, context, request):
        """Make them for a place.Place."""
        self.context = context
        self.request = request

    @property
    def __parent__(self):
        return self.context

    def browserDefault(self, request):
        """Return the summary: it is what one sees first."""
        return ServicePage(self.context, request), ()

    def publishTraverse(self, request, name):
        """Return the page of a name."""
        if name == assets.FOLDER:
            return assets.Assets(self.context, request)
        if name in KINDS:
            return ServiceAction(self.context, self.request, name)
        page = PAGES.get(name.removesuffix('.json'))
        if page is None:
            return not_found(self.context, name, request)
        return page(self.context, request, name.endswith('.json'))
