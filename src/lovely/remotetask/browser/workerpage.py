"""The workers of a service: which live, and what they have claimed."""

from lovely.remotetask.browser import cells
from lovely.remotetask.browser.markup import escaped
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.wording import _


STATES = {'alive': _('alive'), 'late': _('late'), 'gone': _('gone')}

# How many claims are told one by one.
CLAIMS = 5


class WorkerPage(Page):
    """See the module."""

    name = 'workers'
    title = _('Workers')
    content = template('workers')

    def data(self):
        """The workers that have a record, the busiest first."""
        found = [self._worker(each) for each in self.management.workers()]
        found.sort(key=lambda each: (-each['claimed'], each['processor']))
        return {'workers': found}

    def _worker(self, worker):
        age = (None if worker['heartbeat'] is None
               else max(0.0, self.now - worker['heartbeat']))
        return {
            'id': worker['id'],
            'processor': worker['processor'],
            'silent': age,
            'heartbeat': cells.as_datetime(worker['heartbeat']),
            'state': self.management.worker_state(worker, self.now),
            'kind': worker['kind'],
            'threads': worker['threads'],
            'memory': worker['memory'],
            'started': cells.as_datetime(worker['started']),
            'claimed': len(worker['claims']),
            'claims': [{'job': str(jobid), 'since': cells.as_datetime(time)}
                       for jobid, time in worker['claims']],
            'jobs': [str(jobid) for jobid, _time in worker['claims'][:CLAIMS]]}

    # For the template

    def worker(self, row):
        """Return the Markup of a worker's name."""
        return escaped(cells.whole_worker(row['processor']))

    def state(self, row):
        """Return the Markup of how it does."""
        return tag('span', self.say(STATES[row['state']]),
                   class_=f'state {row["state"]}')

    def memory(self, row):
        """Return the text of how much memory its process uses."""
        return '–' if row['memory'] is None else f'{row["memory"]:,.0f} MB'

    def jobs(self, row):
        """Return the Markup of the jobs that it has claimed."""
        links = [tag('a', f'#{jobid}', href=f'jobs/{jobid}')
                 for jobid in row['jobs']]
        more = row['claimed'] - len(links)
        if more > 0:
            links.append(self.say(_('and ${number} more'), number=more))
        return tag('span', [part for link in links for part in (link, ' ')])
