"""The examples of docs/howto/cron.rst are run as they are written."""

import pathlib
import re
import sys
import types
import unittest

import transaction
import zope.component
import zope.event
import zope.principalregistry.principalregistry
import zope.schema
from zope.processlifetime import DatabaseOpenedWithRoot

import gocept.async_
from gocept.async_.crons.directive import ICronDirective
from gocept.async_.manage import command
from gocept.async_.testing import process
from gocept.async_.tests import configuration
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask import crontab
from lovely.remotetask.job import CronJob


DOCUMENT = pathlib.Path(gocept.async_.__file__).parents[3].joinpath(
    'docs', 'howto', 'cron.rst')

# What the examples take for granted.
PERMISSION = '''
<include package="zope.security" file="meta.zcml" />
<include package="zope.securitypolicy" file="meta.zcml" />
<include package="zope.principalregistry" file="meta.zcml" />
<include package="zope.password" />
<configure xmlns="http://namespaces.zope.org/zope">
  <permission id="shop.ReadOrders" title="Read orders" />
  {}
</configure>
'''


def blocks(language):
    """Return the blocks of code in a language, in their order."""
    text = DOCUMENT.read_text(encoding='utf-8')
    found = re.findall(
        rf'\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)', text)
    return [re.sub('(?m)^    ', '', block) for block in found]


@unittest.skipUnless(DOCUMENT.exists(), 'installed without the documents')
class DocumentTest(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        self.module('shop', '')
        self.calls = self.module('shop.report', blocks('python')[0]).calls = []
        sys.modules['shop'].report = sys.modules['shop.report']

    def module(self, name, source):
        found = sys.modules[name] = types.ModuleType(name)
        self.addCleanup(sys.modules.pop, name, None)
        exec(compile(source, name, 'exec'), vars(found))
        return found

    def configured(self):
        """Execute all ZCML of the document."""
        registry = zope.principalregistry.principalregistry.principalRegistry
        state = vars(registry)
        kept = {name: dict(value) for name, value in state.items()
                if isinstance(value, dict)}
        self.addCleanup(state.update, kept)
        directives, principal = blocks('xml')
        configuration.execute(self, PERMISSION.format(principal) + directives)

    def test_directive(self):
        self.configured()
        zope.event.notify(DatabaseOpenedWithRoot(self.layer.db))
        transaction.begin()
        job, = self.service.cron_jobs()
        self.assertEqual(
            ('nightly', (2,), 'Europe/Berlin', 'shop.reporter', 'cronjob'),
            (job.name, job.hour, job.timezone, job.principal, job.status))

    def test_python(self):
        """The job in Python, and the time that passes."""
        self.module('shop.report', blocks('python')[0] + '''
calls = []

@function(service='events')
def weekly(department):
    calls.append(department)
''')
        add, cancel, run = blocks('python')[1:]
        names = {}
        exec(add, names)
        job = self.service.jobs[names['jobid']]
        self.assertEqual(((6,), (0,)), (job.hour, job.dayOfWeek))
        transaction.commit()
        exec(cancel, names)
        exec(run, {'process': process})
        self.assertEqual('cancelled', job.status)

    def test_patterns(self):
        """Those of the table are taken."""
        rows = re.findall(r'(?m)^   \* - ``(.*)``$',
                          DOCUMENT.read_text(encoding='utf-8'))
        self.assertEqual(5, len(rows))
        for row in rows:
            CronJob(1, 'task', None, **dict(re.findall(r'(\w+)="(.*?)"', row)))
        crontab.fields('0 2 * * mon-fri')
        with self.assertRaises(ValueError):
            crontab.fields('0 2 13 * fri')

    def test_what_is_said(self):
        """The error is the one there is."""
        said, commands = blocks('text')
        with self.assertRaises(ValueError) as caught:
            CronJob(1, 'task', None, hour='24')
        self.assertEqual(f'async:cron "nightly": {caught.exception}',
                         ' '.join(said.split()))
        for name in re.findall(r'\$ async-jobs zope\.conf (\S+)', commands):
            self.assertIn(name, command.HELP)

    def test_attributes(self):
        """Each is told."""
        text = DOCUMENT.read_text(encoding='utf-8')
        for name in zope.schema.getFieldNames(ICronDirective):
            self.assertRegex(text, rf'\b{name}\b')
