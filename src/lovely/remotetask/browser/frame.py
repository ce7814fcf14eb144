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
    screens = ViewPageTemplateFile('templates/screens.pt')

    intervals = INTERVALS

    def __init__(self, page, content):
        self.page = page
        self.content = content
        self.place = page.context
        # A layout of the application tells of it: where it is, and its tabs.
        self.context = self.place.subject
        self.request = page.request
        self.say = page.say

    def __call__(self):
        if not self.place.layout:
            return self.own()
        return self.screens() if self._is_among_screens() else self.foreign()

    def _is_among_screens(self):
        """Return whether the layout is that of the screens of zope.app.

        Their tabs are relative to the object, not to an address below it.
        """
        return self.place.layout.startswith('standard_macros/') and (
            zope.component.queryMultiAdapter(
                (self.context, self.request), name='view_get_menu')
            is not None)

    @property
    def title(self):
        """The title of the document."""
        parts = (self.say(self.page.title), self.place.title,
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
            'foreign': self.say(_(
                'Something else than this page has answered; log in if you '
                'must, and reload it')),
            'gone': self.say(_('No longer here')),
            'idle': self.say(_('Not refreshed any more: nobody was here for '
                               'half an hour')),
            'removed': self.say(_('This was removed, and is shown as it was')),
            'signed-out': self.say(_('You are signed out; reload the page')),
            'newer': self.say(_('${number} newer - show')),
            'done': self.say(DONE),
            'go-on': self.say(_('Continue')),
            'copied': self.say(_('Copied')),
            'selected': self.say(_('Selected: copy it by the keyboard')),
        })

    @property
    def overview(self):
        """The relative address of the overview, None without one."""
        if self.page.depth == 0:
            return './'
        if not self.place.in_overview:
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
        name, *path = self.place.layout.split('/')
        found = zope.component.getMultiAdapter(
            (self.context, self.request), name=name)
        for each in path:
            found = found[each]
        return found

    @property
    def object_tabs(self):
        """The tabs that zope.app shows of the object: dicts."""
        menu = zope.component.getMultiAdapter(
            (self.context, self.request), name='view_get_menu')
        base = zope.component.getMultiAdapter(
            (self.context, self.request), name='absolute_url')()
        return [{'title': tab['title'], 'url': f'{base}/{tab["action"]}'}
                for tab in menu['zmi_views']]
