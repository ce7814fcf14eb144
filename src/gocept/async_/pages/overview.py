"""The overview of a site: how each of its services does."""

import zope.security
import zope.security.interfaces
from zope.security.proxy import ProxyFactory
from zope.security.proxy import removeSecurityProxy

from gocept.async_ import openmetrics
from gocept.async_.openmetrics import Told
from gocept.async_.pages.services import services
from lovely.remotetask.browser import assets
from lovely.remotetask.browser import metrics
from lovely.remotetask.browser import openapi
from lovely.remotetask.browser.markup import escaped
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.missing import not_found
from lovely.remotetask.browser.page import VIEW
from lovely.remotetask.browser.page import VIEW_ARGUMENTS
from lovely.remotetask.browser.page import FrontPage
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import check_current
from lovely.remotetask.browser.page import template_in
from lovely.remotetask.browser.pages import Pages
from lovely.remotetask.browser.place import Place
from lovely.remotetask.browser.place import name_of
from lovely.remotetask.browser.place import segment
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.problem import method_not_allowed
from lovely.remotetask.browser.problem import set_type
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.servicepage import banner
from lovely.remotetask.browser.servicepage import state
from lovely.remotetask.browser.servicepage import summary
from lovely.remotetask.browser.wording import _
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER


# The numbers that a row has: the statuses that each is of.
COLUMNS = (
    ('processing', _('Running'), (PROCESSING,)),
    ('queued', _('Queued'), (QUEUED,)),
    ('delayed', _('Scheduled'), (DELAYED, CRONJOB, STARTLATER)),
    ('held', _('Held'), (HELD,)),
    ('error', _('Failed'), (ERROR,)),
)


# Columns for which there is no room on a small screen.
WIDE = ('processing', 'delayed', 'held')


class Overview(FrontPage):
    """See the module; a view of a site."""

    name = 'overview'
    title = _('Overview')
    depth = 0
    content = template_in('gocept.async_.pages', 'overview')

    def __init__(self, site, request, settings, is_json=False):
        super().__init__(Place(None, site, settings, ''), request, is_json)
        self.site = removeSecurityProxy(site)
        self.settings = settings

    def publishTraverse(self, request, name):
        """Return the pages of a service; see IPublishTraverse."""
        if name == assets.FOLDER:
            return assets.Assets(self.context, request)
        if name == '+overview.json':
            return Overview(self.context.__parent__, request, self.settings,
                            True)
        if name == '+openapi.json':
            return Description(self.context.__parent__, request,
                               self.settings, True)
        if name == '+metrics':
            return Metrics(self.context.__parent__, request, self.settings)
        key = name_of(name)
        service = services(self.site).get(key)
        if service is None:
            return not_found(self.context, name, request)
        return Pages(Place(
            ProxyFactory(service), self.context.__parent__, self.settings,
            self.say.service(key), True), request)

    def may(self, permission):
        """Return whether the current principal has a permission here."""
        return zope.security.checkPermission(permission, self.site)

    def check(self):
        """See Page; who may see one service may see the overview."""
        if self.request.method not in ('GET', 'HEAD'):
            raise method_not_allowed('GET')
        self.found = [
            (key, service) for key, service in services(self.site).items()
            if self._may_see(service)]
        if not self.found and not self.may(VIEW):
            raise zope.security.interfaces.Unauthorized(
                self.site, self.context.__name__, VIEW)

    def data(self):
        """How each service does that may be seen."""
        return {'services': [
            {'name': key, 'url': f'{segment(key)}/',
             **self._summary(service)}
            for key, service in self.found]}

    def _may_see(self, service):
        asked = outcome_of(zope.security.checkPermission, VIEW, service)
        # Where it cannot be asked itself, the site says who is told of that.
        return self.may(VIEW) if asked.failed else asked.value

    def _summary(self, service):
        found = outcome_of(_checked_summary, service, self.now)
        if isinstance(found.exception, Problem):
            return {'broken': self.say(found.exception.detail)}
        if found.failed:
            return {'broken': self._told(found)}
        return found.value

    def _told(self, found):
        """Return what the reader is told of an exception."""
        # Its message may hold what jobs are about.  The broken service cannot
        # be asked who may see that; the site can.
        return (f'{found.errorClass}: {found.error}'
                if self.may(VIEW_ARGUMENTS) else found.errorClass)

    # For the template

    columns = COLUMNS

    def link(self, row):
        """Return the Markup of what leads to a service."""
        return tag('a', self.say.service(row['name']), href=row['url'])

    def state(self, row):
        """Return the Markup of the state of a service."""
        if 'broken' in row:
            return tag('span', self.say(_('Broken')), class_='state alone')
        return state(row, self.say)

    def hour(self, row):
        """Return the Markup of how jobs have ended in the last hour."""
        return metrics.sparkline(row, self.say)

    def failed(self, row):
        """Return the Markup of how many have failed in the last hour."""
        number = row['failed_last_hour']
        return tag('span', f'{number:,}', class_='bad' if number else 'none')

    def banners(self, data):
        """Yield what needs somebody: Markup of the service, and of that."""
        for row in data['services']:
            found = 'counts' in row and banner(row, self.now, self.say)
            if found:
                yield {'link': self.link(row), 'text': escaped(found)}

    def class_of(self, column):
        """Return the classes of the cells of a column."""
        name = column[0]
        return f'number {name}{" wide" if name in WIDE else ""}'

    def number(self, row, column):
        """Return the Markup of numbers of jobs, each of which leads to them.

        A list of jobs is of one status: where a column counts several, each
        has its own number.
        """
        *_, statuses = column
        links = [
            tag('a', f'{row["counts"][status]:,}',
                title=self.say.status(status),
                href=f'{row["url"]}jobs{Selection(status).query()}')
            for status in statuses if row['counts'].get(status)]
        if not links:
            return tag('span', '0', class_='none')
        return escaped([part for link in links for part in (' + ', link)][1:])


def _checked_summary(service, now):
    """Return how a service does; raise anything."""
    check_current(service)
    service = ProxyFactory(service)
    return {**summary(service, now), **metrics.hourly(service, now)}


class Description(Overview):
    """What there is as JSON, by OpenAPI; for those who see the overview."""

    def data(self):
        """See Page."""
        return openapi.document(self.say(_('Background jobs')))


class Metrics(Overview):
    """All services that may be seen, as OpenMetrics."""

    name = '+metrics'

    def data(self):
        """See Page; a service that is broken has no numbers."""
        if not openmetrics.is_installed():
            raise Problem(501, openmetrics.MISSING)
        found = {}
        for key, service in self.found:
            told = outcome_of(_checked_told, service, self.now)
            found[key] = Told(works=False) if told.failed else told.value
        return found

    def __call__(self):
        """See Page; it is plain text, whatever is asked for."""
        return Page.__call__(self)

    def _as_html(self, data):
        kind = openmetrics.content_type(self.request.getHeader('Accept'))
        set_type(self.request, kind, openmetrics.PLAIN)
        self.request.response.setHeader(
            'Vary', 'Accept, Accept-Language, Cookie, Authorization')
        return openmetrics.exposition(data, content_type=kind)


def _checked_told(service, now):
    check_current(service)
    return openmetrics.of_service(ProxyFactory(service), now)
