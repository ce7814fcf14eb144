"""Adding a cron job."""

from lovely.remotetask import interfaces
from lovely.remotetask.browser import flash
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.cronform import LABELS
from lovely.remotetask.browser.cronform import CronForm
from lovely.remotetask.browser.cronform import CronPosted
from lovely.remotetask.browser.cronform import delay_of
from lovely.remotetask.browser.cronform import pattern_of
from lovely.remotetask.browser.cronform import says_when
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


NAME = 'cron-add'


def _or_once(form):
    """Return the arguments of addCronJob if a job is to be run once, or None.

    Raise ValueError, or Problem.
    """
    delay = delay_of(form)
    if delay is None:
        return None
    if says_when(pattern_of(form)):
        raise Problem(400, _(
            'Say either when the job runs again and again, or in how many '
            'seconds it runs once.'))
    return {'delay': delay}


class CronAdd(CronForm):
    """The form: which function, and when."""

    labels = {**LABELS, 'delay': _('Or once, in so many seconds')}
    name = NAME
    tab = 'crons'
    title = _('Add a cron job')
    address = NAME
    back = 'crons'

    def __new__(cls, context, request, is_json=False):
        # The form and what does it have one address: what is sent there by
        # POST is done.
        if cls is CronAdd and request.method == 'POST' and not is_json:
            return CronAdded(context, request)
        return super().__new__(cls)

    @classmethod
    def again(cls, context, request):
        """Return the form, also where something was sent to it."""
        page = super().__new__(cls)
        page.__init__(context, request)
        return page

    def data(self):
        """See CronForm; and what there is to choose from."""
        names = sorted(interfaces.IManagement(self.service).sources())
        return {**super().data(), 'functions': names,
                'function': parameters.text(self.request.form, 'function')}

    def asked(self, texts):
        """See CronForm."""
        return _or_once(texts) or super().asked(texts)

    def words(self, data):
        """See CronForm."""
        return (self.say(_('once')) if data['fields']['delay']
                else super().words(data))

    def heading(self, data):
        """Return what the form is about."""
        return self.say(self.title)

    def choices(self, data):
        """Yield the functions to choose from."""
        for name in data['functions']:
            yield {'name': name, 'selected':
                   'selected' if name == data['function'] else None}

    def hint(self):
        """Return as whom the job is going to run."""
        return self.say(_(
            'It is called without arguments, as you: ${principal}.'),
            principal=self.request.principal.id)


class CronAdded(CronPosted):
    """Takes what the form says."""

    tab = 'crons'
    fields = (*CronPosted.fields, 'delay', 'function')

    def form_page(self):
        """See CronPosted."""
        return CronAdd.again(self.context, self.request)

    def asked(self):
        """See CronPosted."""
        return _or_once(self.form) or super().asked()

    def keep(self, pattern):
        """See CronPosted."""
        return self.operations.add_cron(
            parameters.text(self.form, 'function'), **pattern)

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        flash.leave(self, NAME, self.tab)
        return self.tab
