"""What is around each page: the heading, the tabs, the document."""

import json

import zope.component
from zope.browserpage import ViewPageTemplateFile

from lovely.remotetask.browser import assets
from lovely.remotetask.browser.wording import _


# Where each tab leads, below the service, what it is called, and the
# permission without which it is not shown.
TABS = (
    ('service', './', _('Summary'), 'lovely.remotetask.View'),
    ('jobs', 'jobs', _('Jobs'), 'lovely.remotetask.View'),
    ('crons', 'crons', _('Cron'), 'lovely.remotetask.View'),
    ('workers', 'workers', _('Workers'), 'lovely.remotetask.View'),
    ('metrics', 'metrics', _('Metrics'), 'lovely.remotetask.View'),
    ('audit', 'audit', _('Audit'), 'lovely.remotetask.Manage'),
)

# Seconds between two looks of a page at itself.
INTERVALS = (2, 5, 15, 60)

THEMES = ('light', 'dark')

# What was done to many jobs.
DONE = _('Done: ${done}. Skipped, for it means nothing for them: ${skipped}.')


class Frame:
    """A document around the content of a page."""

    inner = ViewPageTemplateFile('templates/frame.pt')
    own = ViewPageTemplateFile('templates/own.pt')
    foreign = ViewPageTemplateFile('templates/foreign.pt')

    intervals = INTERVALS

    def __init__(self, page, content):
        self.page = page
        self.content = content
        self.context = page.context
        self.request = page.request
        self.say = page.say

    def __call__(self):
        return self.foreign() if self.context.layout else self.own()

    @property
    def title(self):
        """The title of the document."""
        parts = (self.say(self.page.title), self.context.title,
                 self.say(_('Background jobs')))
        return ' · '.join(filter(None, parts))

    @property
    def language(self):
        """The language in which the page is."""
        return self.say(_('language-of-these-pages', 'en'))

    @property
    def theme(self):
        """The reader's choice, None for that of the system."""
        found = self.request.getCookies().get('async-theme')
        return found if found in THEMES else None

    @property
    def words(self):
        """What the script says: JSON."""
        return json.dumps({
            **self.say.units(),
            'updated': self.say(_('Updated ${time}')),
            'away': self.say(_('The server does not answer; trying again')),
            'held': self.say(_('Waiting for you: something is open, '
                               'selected or being typed')),
            'signed-out': self.say(_('You are signed out; reload the page')),
            'newer': self.say(_('${number} newer - show')),
            'done': self.say(DONE),
            'copied': self.say(_('Copied')),
        })

    @property
    def overview(self):
        """The relative address of the overview, None without one."""
        if self.page.depth == 0:
            return './'
        if not self.context.in_overview:
            return None
        root = self.page.root()
        return '../' if root == './' else f'{root}../'

    @property
    def tabs(self):
        """The tabs, as dicts; none on the overview."""
        if self.page.depth == 0:
            return []
        root = self.page.root()
        current = self.page.tab or self.page.name
        return [
            {'url': root if url == './' else f'{root}{url}',
             'title': title,
             'current': 'page' if name == current else None}
            for name, url, title, permission in TABS
            if self.page.may(permission)]

    def asset(self, name):
        """Return the relative address of a style sheet or a script."""
        base = self.overview or self.page.root()
        return f'{base}{assets.address(name)}'

    @property
    def foreign_macro(self):
        """The macro of the application's own layout."""
        name, *path = self.context.layout.split('/')
        found = zope.component.getMultiAdapter(
            (self.context.__parent__, self.request), name=name)
        for each in path:
            found = found[each]
        return found
