"""Who has done what to the jobs of a service."""

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.wording import _


class AuditPage(Page):
    """See the module."""

    name = 'audit'
    title = _('Audit')
    permission = MANAGE
    content = template('audit')

    def data(self):
        """The last actions, the newest first."""
        return {'actions': [
            {'time': cells.as_datetime(action.time),
             'who': action.who,
             'what': action.what,
             'job': None if action.job is None else str(action.job),
             'selection': dict(action.selection),
             'number': action.number}
            for action in interfaces.IOperations(self.service).actions()]}

    # For the template

    def subject(self, row):
        """Return the Markup of what it was done to."""
        if row['job'] is not None:
            return tag('a', f'#{row["job"]}', href=f'jobs/{row["job"]}')
        return ', '.join(f'{name}: {value}' for name, value
                         in row['selection'].items())
