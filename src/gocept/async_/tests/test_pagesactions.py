"""What can be done on the management pages, by raw HTTP."""

import datetime
import html
import urllib.parse
from unittest import mock

import transaction
import zope.component.hooks
from zope.securitypolicy.interfaces import IPrincipalPermissionManager

from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.pageslayer import PagesTestCase
from lovely.remotetask import TaskService
from lovely.remotetask import named
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import place
from lovely.remotetask.browser.page import VIEW_ARGUMENTS
from lovely.remotetask.bulk import Slice
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.management import Management
from lovely.remotetask.operations import Operations


class ActionsTestCase(PagesTestCase):

    def failed(self, number=1):
        """Return the ids of jobs that failed."""
        # A request leaves no site behind.
        zope.component.hooks.setSite(self.root)
        ids = [sample.fail.enqueue('no') for _ in range(number)]
        process('events', raise_errors=False)
        return ids

    def status(self, jobid):
        transaction.begin()
        return self.service.getStatus(jobid)


class PermissionsTest(ActionsTestCase):

    OPERATE = {'jobs/{failed}/requeue', 'jobs/{waits}/cancel',
               'jobs/{cron}/run-now', 'jobs/{cron}/pause', 'pause'}
    MANAGE = {'jobs/{failed}/remove', 'jobs/{failed}/copy',
              'jobs/{cron}/pattern', 'clean', 'cron-add'}

    def setUp(self):
        super().setUp()
        self.ids = {'failed': self.failed()[0],
                    'cron': self.service.addCronJob('echo', hour=2),
                    'waits': self.add()}
        transaction.commit()

    def test_refused(self):
        """What somebody may not do is refused, however it is asked for."""
        before = self.service._p_jar.db().lastTransaction()
        for paths, refused in ((self.OPERATE, ('viewer', 'reader')),
                               (self.MANAGE, ('viewer', 'operator'))):
            for path in paths:
                path = f'events/{path.format(**self.ids)}'
                for who, status in (('anonymous', 401), ('user', 403),
                                    *((each, 403) for each in refused)):
                    with self.subTest(path, who=who):
                        self.assertEqual(
                            status, self.post_json(path, who).status_int)
                        if who != 'anonymous':
                            self.assertEqual(status, self.post(
                                path, who,
                                token=self.token(who)).status_int)
        transaction.begin()
        self.assertEqual(
            before, self.service._p_jar.db().lastTransaction())

    def test_allowed(self):
        """Those who may do it, do it."""
        for path in sorted(self.OPERATE):
            with self.subTest(path):
                self.assertEqual(303, self.post(
                    f'events/{path.format(**self.ids)}', 'operator',
                    token=self.token('operator')).status_int)
        transaction.begin()
        self.assertTrue(self.service.paused)
        self.assertEqual(QUEUED, self.status(self.ids['failed']))
        self.assertEqual(CANCELLED, self.status(self.ids['waits']))
        for path, sent in (
                ('jobs/{failed}/copy', {}), ('jobs/{failed}/remove', {}),
                ('jobs/{cron}/pattern', {'hour': '3, 4'}), ('clean', {}),
                ('resume', {}),
                ('cron-add', {'function': 'echo', 'hour': '3, 4'})):
            with self.subTest(path):
                self.assertEqual(200, self.post_json(
                    f'events/{path.format(**self.ids)}', **sent).status_int)
        transaction.begin()
        self.assertFalse(self.service.paused)
        self.assertNotIn(self.ids['failed'], self.service.jobs)
        self.assertEqual((3, 4), self.service.jobs[self.ids['cron']].hour)

    def test_buttons(self):
        """A page shows what its reader may do, and nothing else."""
        path = f'events/jobs/{self.ids["failed"]}'
        for who, shown in (('viewer', set()), ('operator', {'requeue'}),
                           ('manager', {'requeue', 'copy', 'remove'})):
            with self.subTest(who):
                self.assertEqual(
                    shown, set(self.ask(path + '.json', who).json['actions']))

    def test_audit(self):
        """Who has done what is told to managers alone."""
        self.post_json(f'events/jobs/{self.ids["failed"]}/requeue',
                       'operator')
        for who in ('viewer', 'reader', 'operator'):
            self.assertEqual(403, self.ask('events/audit', who).status_int)
        self.assertIn('tests.operator', self.ask('events/audit').text)
        [found] = self.ask('events/audit.json').json['actions']
        self.assertEqual(
            ('tests.operator', 'requeue', str(self.ids['failed'])),
            (found['who'], found['what'], found['job']))


class ForgedTest(ActionsTestCase):

    def setUp(self):
        super().setUp()
        self.jobid = self.add()
        self.path = f'events/jobs/{self.jobid}/cancel'

    def assert_refused(self, status, answer):
        self.assertEqual(status, answer.status_int)
        self.assertEqual(QUEUED, self.status(self.jobid))

    def test_without_token(self):
        """A form needs the token of its reader."""
        self.assert_refused(403, self.post(self.path))
        self.assert_refused(403, self.post(self.path, token='x'))
        self.assert_refused(403, self.post(self.path, token='tök'))
        self.assert_refused(
            403, self.post(self.path, token=self.token('viewer')))

    def test_get(self):
        """Reading an address never changes anything."""
        address = f'{self.path}?token={self.token()}'
        for method in ('GET', 'HEAD'):
            self.assert_refused(405, self.ask(address, method=method))
        # The publication has no views for these.
        for method in ('PUT', 'DELETE'):
            self.assert_refused(404, self.ask(address, method=method))

    def test_from_another_site(self):
        """What a browser says another site has sent is refused."""
        for site in ('cross-site', 'same-site'):
            headers = {'Sec-Fetch-Site': site}
            self.assert_refused(403, self.post(
                self.path, token=self.token(), headers=headers))
            self.assert_refused(403, self.post_json(
                self.path, headers=headers))
        self.assertEqual(303, self.post(
            self.path, token=self.token(),
            headers={'Sec-Fetch-Site': 'same-origin'}).status_int)

    def test_no_json_that_a_form_can_send(self):
        """Only a type that another site cannot send needs no token."""
        for kind in ('text/plain', 'application/x-www-form-urlencoded',
                     'multipart/form-data'):
            self.login('manager')
            self.assert_refused(403, self.app.post(
                f'/@@async/{self.path}', b'{}', expect_errors=True,
                content_type=kind))

    def test_bad_documents(self):
        """What is no JSON object, or too long, is refused."""
        for body, status in ((b'[1]', 400), (b'{', 400), (b'\xff', 400),
                             (b'[' * 5000, 400), (b' ' * 20000, 413)):
            self.login('manager')
            answer = self.app.post(
                f'/@@async/{self.path}', body, expect_errors=True,
                content_type='application/json')
            self.assert_refused(status, answer)
            self.assertEqual(
                'application/problem+json', answer.content_type)

    def test_unknown_fields(self):
        """A document says nothing that is not looked at."""
        cron = self.service.addCronJob('echo', hour=2)
        transaction.commit()
        for path in (self.path, 'events/pause', f'events/jobs/{cron}/pattern',
                     'events/cron-add'):
            with self.subTest(path):
                answer = self.post_json(
                    path, function='echo', minute=0, days=[1])
                self.assert_refused(400, answer)
        self.assertEqual(400, self.post_json(
            'events/pause?dry_run=1').status_int)
        self.assertFalse(self.service.paused)


class OneJobTest(ActionsTestCase):

    def test_led_back(self):
        """A form leads back to the job, which says what was done."""
        jobid, = self.failed()
        answer = self.post(f'events/jobs/{jobid}/requeue',
                           token=self.token())
        page = answer.follow()
        self.assertIn('The job waits to be run again.', page.text)
        self.assertEqual(QUEUED, self.status(jobid))

    def test_said_once(self):
        """What was done is said by one page, once, to who has done it."""
        first, second = self.failed(2)
        said = 'The job waits to be run again.'
        self.post(f'events/jobs/{first}/requeue', token=self.token())
        for path in (f'events/jobs/{second}', f'mail/jobs/{first}',
                     'events/jobs', 'events/', f'events/jobs/{first}.json'):
            self.assertNotIn(said, self.ask(path).text)
        self.assertNotIn(said, self.ask(
            f'events/jobs/{first}', 'viewer').text)
        self.assertNotIn(said, self.ask(
            f'events/jobs/{first}?fragment=1').text)
        self.assertIn(said, self.ask(f'events/jobs/{first}').text)
        self.assertNotIn(said, self.ask(f'events/jobs/{first}').text)

    def test_no_address_says_what_was_done(self):
        """A link that is kept, or shared, tells of nothing that was."""
        jobid, = self.failed()
        for path in (f'events/jobs/{jobid}', 'events/jobs', 'events/',
                     'events/crons'):
            for name in 'cancel', 'remove', 'pause', 'add':
                self.assertNotIn('class="said"', self.ask(
                    f'{path}?said={name}').text)
        for path in (f'events/jobs/{jobid}/requeue', 'events/pause',
                     f'events/jobs/{jobid}/remove'):
            self.assertNotIn('?', self.post(
                path, token=self.token()).location)

    def test_too_late(self):
        """What means nothing any more is said, as a conflict."""
        jobid, = self.failed()
        path = f'events/jobs/{jobid}/requeue'
        self.assertEqual(200, self.post_json(path).status_int)
        answer = self.post_json(path)
        self.assertEqual((409, 409),
                         (answer.status_int, answer.json['status']))
        answer = self.post(path, token=self.token())
        self.assertEqual(409, answer.status_int)
        self.assertIn('has changed meanwhile', answer.text)
        self.assertEqual(404, self.post_json(
            'events/jobs/4711/requeue').status_int)

    def test_another_status_than_shown(self):
        """A button is for the job as the page with the button shows it."""
        jobid, = self.failed()
        page = self.ask(f'events/jobs/{jobid}')
        form = next(each for each in page.forms.values()
                    if '/remove' in each.action)
        self.post_json(f'events/jobs/{jobid}/requeue')
        self.login('manager')
        answer = form.submit(expect_errors=True)
        self.assertEqual(409, answer.status_int)
        self.assertIn('it was &quot;Failed&quot;, and is &quot;Queued&quot; '
                      'now', answer.text)
        path = f'events/jobs/{jobid}/remove'
        self.assertEqual(
            409, self.post_json(path, status='error').status_int)
        for status in 'Error', '':
            self.assertEqual(
                400, self.post_json(path, status=status).status_int)
        self.assertEqual(QUEUED, self.status(jobid))
        self.assertEqual(
            200, self.post_json(path, status='queued').status_int)

    def test_field_like_the_query(self):
        """What the server calls the query is no field of a form."""
        jobid = self.add()
        self.assertEqual(409, self.post(
            f'events/jobs/{jobid}/cancel?status=error', token=self.token(),
            QUERY_STRING='status=queued').status_int)

    def test_unreadable(self):
        """Of a job that cannot be read, nobody is offered what is in vain.

        Nor told what its class says, who may not see what jobs are about.
        """
        jobid = self.add()
        # As a processor stores it whose job cannot be loaded.
        self.service.store.aside[jobid] = (1.0, 'ValueError: card 4711', ())
        IPrincipalPermissionManager(self.service).denyPermissionToPrincipal(
            VIEW_ARGUMENTS, 'tests.manager')
        transaction.commit()
        path = f'events/jobs/{jobid}'
        page = self.ask(f'{path}.json')
        self.assertEqual(['requeue', 'remove'], page.json['actions'])
        self.assertNotIn('4711', page.text)
        for answer in (self.post_json(f'{path}/copy'),
                       self.post(f'{path}/copy', token=self.token())):
            self.assertEqual(409, answer.status_int)
            self.assertIn('cannot be read', answer.text)
            self.assertNotIn('4711', answer.text)

    def test_run_now(self):
        """A copy of a cron job runs; the schedule stays."""
        jobid = self.service.addCronJob('echo', hour=2)
        transaction.commit()
        answer = self.post_json(f'events/jobs/{jobid}/run-now', 'operator')
        copy = int(answer.json['job'])
        self.assertEqual((QUEUED, CRONJOB),
                         (self.status(copy), self.status(jobid)))
        self.assertEqual(409, self.post_json(
            f'events/jobs/{copy}/run-now').status_int)

    def test_pattern(self):
        """A pattern is changed by a form; a bad one is refused."""
        jobid = self.service.addCronJob('echo', hour=2)
        other = self.add()
        path = f'events/jobs/{jobid}/pattern'
        self.assertIn('at 02:00 every day', self.ask(path).text)
        answer = self.post(path, token=self.token(), minute='0 30',
                           dayOfWeek='0,1,2,3,4', timezone='Europe/Berlin')
        page = answer.follow()
        self.assertIn('every hour at minute 0, 30 on Monday to Friday',
                      page.text)
        for name, value in (('minute', '60'), ('hour', 'x'), ('month', '0'),
                            ('timezone', 'Nowhere')):
            self.assertEqual(400, self.post_json(
                path, **{name: value}).status_int)
        for method in ('GET', 'POST'):
            self.assertEqual(404, (self.ask if method == 'GET'
                                   else self.post_json)(
                f'events/jobs/{other}/pattern').status_int)


class CronFormTest(ActionsTestCase):

    NAME = f'{sample.__name__}.context'

    def added(self):
        transaction.begin()
        job, = self.service.cron_jobs()
        return job

    def test_add(self):
        """The form leads back to the list; the job runs as who added it."""
        page = self.ask('events/crons').click('Add a cron job')
        self.assertIn('tests.manager', page.text)
        form = page.forms[0]
        self.assertEqual('get', form.method)
        form['function'] = self.NAME
        form['hour'] = '2, 14'
        form['dayOfWeek'] = 'mon-fri'
        form['timezone'] = 'Europe/Berlin'
        page = form.submit()
        self.assertEqual([], self.service.cron_jobs())
        self.assertIn('at 02:00, 14:00 on Monday to Friday Europe/Berlin',
                      page.text)
        self.assertEqual(5, page.text.count('<li>'))
        form = page.forms[0]
        self.assertEqual(('2, 14', self.NAME),
                         (form['hour'].value, form['function'].value))
        page = self.post(
            'events/cron-add', **dict(form.submit_fields()),
            token=self.token()).follow()
        self.assertIn('The cron job is added.', page.text)
        job = self.added()
        self.assertEqual(
            ((2, 14), (0, 1, 2, 3, 4), 'Europe/Berlin', self.NAME,
             'tests.manager', None),
            (job.hour, job.dayOfWeek, job.timezone, job.function,
             job.principal, job.name))
        [found] = self.ask('events/audit.json').json['actions']
        self.assertEqual(('add_cron', str(job.id)),
                         (found['what'], found['job']))

    def test_hour_that_comes_twice(self):
        """The same time of day is told apart by its offset."""
        # Half an hour before the clocks of Berlin go back.
        summer = datetime.datetime(2026, 10, 25, 0, 30, tzinfo=datetime.UTC)
        times = [summer.timestamp() + 3600 * number for number in range(2)]
        with mock.patch.object(
                Management, 'foresee', autospec=True, return_value=(
                    dict.fromkeys(cronwords.FIELDS, ()), times)):
            page = self.ask(
                'events/cron-add?minute=30&timezone=Europe/Berlin')
        self.assertEqual(
            ['2026-10-25 02:30+02:00', '2026-10-25 02:30+01:00'],
            [each.span.text for each in page.html.ol.find_all('li')])

    def test_once(self):
        """A job that runs once, in so many seconds: as in 0.5."""
        page = self.ask('events/cron-add?function=echo&delay=600')
        self.assertEqual(1, page.text.count('<li>'))
        self.assertIn('once', page.text)
        form = page.forms[0]
        self.assertEqual('600', form['delay'].value)
        self.post('events/cron-add', **dict(form.submit_fields()),
                  token=self.token()).follow()
        transaction.begin()
        job, = self.service.jobs.values()
        self.assertEqual(('delayed', 600), (job.status, job.delay))
        self.assertEqual([], self.service.cron_jobs())
        for delay in (60, 0.5, '60'):
            answer = self.post_json(
                'events/cron-add', function='echo', delay=delay)
            self.assertEqual(200, answer.status_int)
        found = self.ask('events/cron-add.json?delay=60').json
        self.assertEqual(1, len(found['next']))

    def test_once_and_again(self):
        """One of the two; and only what is a length of time."""
        for fields, why in (
                ({'delay': '600', 'hour': '2'}, 'Say either when'),
                ({'delay': 'soon'}, "not 'soon'"), ({'delay': 'nan'}, 'delay'),
                ({'delay': '-1'}, 'delay'), ({'delay': '1e300'}, 'delay'),
                ({'delay': '0'}, 'more than 0 seconds'),
                ({'delay': '0', 'hour': '2'}, 'more than 0 seconds'),
                ({'delay': '-0.0'}, 'more than 0 seconds')):
            query = urllib.parse.urlencode(fields)
            with self.subTest(**fields):
                for answer in (
                        self.post('events/cron-add', token=self.token(),
                                  function='echo', **fields),
                        self.ask(f'events/cron-add?{query}')):
                    self.assertIn(answer.status_int, (200, 400))
                    self.assertEqual(
                        fields['delay'], answer.forms[0]['delay'].value)
                    self.assertIn(why, html.unescape(answer.text))
                self.assertEqual(400, self.post_json(
                    'events/cron-add', function='echo', **fields).status_int)
                self.assertEqual(400, self.ask(
                    f'events/cron-add.json?{query}').status_int)
        for delay in (0, 0.0):
            self.assertEqual(400, self.post_json(
                'events/cron-add', function='echo', delay=delay).status_int)
        # Who changes a pattern is not asked for it.
        jobid = self.service.addCronJob('echo', hour=2)
        transaction.commit()
        self.assertNotIn(
            'name="delay"', self.ask(f'events/jobs/{jobid}/pattern').text)

    def test_no_token_in_an_address(self):
        """Only the button that saves sends it."""
        for path in ('events/cron-add', 'events/jobs/{}/pattern'.format(
                self.service.addCronJob('echo', hour=2))):
            transaction.commit()
            page = self.ask(path)
            self.assertEqual(1, page.text.count(self.token()))
            self.assertRegex(page.text, '<button[^>]*name="token"')

    def test_what_can_be_chosen(self):
        """Tasks, and functions of the service that need no arguments."""
        names = self.ask('events/cron-add.json').json['functions']
        for name in ('echo', self.NAME, f'{sample.__name__}.record'):
            self.assertIn(name, names)
        for name in ('add', 'change', 'default_service', 'anonymous',
                     'shadowed_first', 'undecorated'):
            self.assertNotIn(f'{sample.__name__}.{name}', names)
            self.assertEqual(400, self.post_json(
                'events/cron-add', function=f'{sample.__name__}.{name}',
                hour='2').status_int)
        self.assertNotIn('gocept.async.function', names)
        self.assertNotIn(self.NAME, self.ask(
            'mail/cron-add.json').json['functions'])
        self.assertEqual(400, self.post_json(
            'mail/cron-add', function=self.NAME, hour='2').status_int)
        self.assertEqual([], self.service.cron_jobs())

    def test_json(self):
        """Texts, numbers and lists; what would be is asked for, too."""
        for hour in ('*/12', [0, 12], '0 12'):
            answer = self.post_json('events/cron-add', function='echo',
                                    minute=30, hour=hour)
            self.assertEqual(200, answer.status_int)
            job = self.added()
            self.assertEqual(
                ((30,), (0, 12)), (job.minute, job.hour))
            self.assertEqual(str(job.id), answer.json['job'])
            self.post_json(f'events/jobs/{job.id}/remove')
        found = self.ask('events/cron-add.json?minute=*/30').json
        self.assertEqual([0, 30], found['pattern']['minute'])
        self.assertEqual(5, len(found['next']))
        self.assertEqual([], self.ask('events/cron-add.json').json['next'])
        answer = self.ask('events/cron-add.json?minute=60')
        self.assertEqual(400, answer.status_int)
        self.assertIn('minute must be 0 to 59', answer.json['detail'])

    def test_bad(self):
        """The form is there again, with what was typed and what is wrong."""
        jobid = self.service.addCronJob('echo', hour=2)
        transaction.commit()
        before = self.service._p_jar.db().lastTransaction()
        for name, text, why in (
                ('hour', '24', 'hour must be 0 to 23'),
                ('minute', '*/0', 'step of 1 to 59'),
                ('month', 'foo', 'jan to dec'),
                ('timezone', 'Nowhere', 'no time zone'),
                ('dayOfMonth', '31', 'No day ever matches'),
                ('hour', '<script>', 'hour must be 0 to 23')):
            fields = {'function': 'echo', name: text}
            if name == 'timezone':
                fields['hour'] = '2'
            if why.startswith('No day'):
                fields['month'] = '2'
            for path in 'events/cron-add', f'events/jobs/{jobid}/pattern':
                for answer in (
                        self.post(path, token=self.token(), **fields),
                        self.ask(
                            f'{path}?{urllib.parse.urlencode(fields)}')):
                    with self.subTest(path, name=name):
                        self.assertIn(answer.status_int, (200, 400))
                        form = answer.forms[0]
                        self.assertEqual(text, form[name].value)
                        self.assertIn(why, html.unescape(answer.text))
                        self.assertNotIn('<script>', answer.text.partition(
                            '<main')[2])
                self.assertEqual(400, self.post_json(
                    path, **fields).status_int)
        transaction.begin()
        self.assertEqual(
            before, self.service._p_jar.db().lastTransaction())

    def test_nothing_said(self):
        """Nobody runs a job each minute by leaving all fields empty."""
        for path, fields in (
                ('events/cron-add', {'function': 'echo'}),
                ('events/cron-add', {'function': 'echo', 'hour': ' ',
                                     'timezone': 'UTC'})):
            answer = self.post(path, token=self.token(), **fields)
            self.assertEqual(400, answer.status_int)
            self.assertIn('fill in at least one field', answer.text)
            self.assertEqual(400, self.post_json(path, **fields).status_int)
        self.assertEqual(200, self.post_json(
            'events/cron-add', function='echo', minute='*').status_int)

    def test_hostile(self):
        """Whatever JSON has, it is a problem that is told."""
        for value in ({'a': 1}, True, 1.5, -1, [[1]], ['mon'], [None],
                      'x' * 5000, '1' * 900, [1] * 900, 10 ** 30):
            for name in ('hour', 'function', 'timezone', 'delay'):
                fields = {'function': 'echo', 'hour': 2, name: value}
                with self.subTest(name, value=str(value)[:20]):
                    self.assertIn(self.post_json(
                        'events/cron-add', **fields).status_int, (400, 200))
        for job in self.service.cron_jobs():
            self.assertEqual((1,), job.hour)

    def test_declared(self):
        """One that ZCML declares is shown, and changed there alone."""
        named.put(self.service, 'nightly', named.Wanted(
            'echo', None, {'hour': 2}, ()))
        transaction.commit()
        jobid = self.added().id
        self.assertIn('nightly', self.ask('events/crons').text)
        page = self.ask(f'events/jobs/{jobid}')
        self.assertIn('Declared as', page.text)
        self.assertNotIn(f'{jobid}/pattern', page.text)
        path = f'events/jobs/{jobid}/pattern'
        for answer in (self.ask(path), self.post_json(path, hour=3),
                       self.post(path, token=self.token(), hour=3)):
            self.assertEqual(409, answer.status_int)
        self.assertEqual((2,), self.added().hour)
        [found] = self.ask('events/crons.json').json['crons']
        self.assertEqual('nightly', found['name'])

    def test_german(self):
        page = self.ask('events/cron-add?minute=*/5', headers={
            'Accept-Language': 'de'})
        for expected in ('Cron-Job hinzufügen', 'Nächste Läufe',
                         'alle 5 Minuten', 'Speichern'):
            self.assertIn(expected, page.text)


class BulkTest(ActionsTestCase):

    def test_question(self):
        """It is told what would be done, and to how many."""
        self.failed(3)
        page = self.ask('events/bulk?action=requeue&status=error')
        self.assertIn('3', page.text)
        for query in ('', 'action=x', 'action=requeue&since=x'):
            self.assertEqual(
                400, self.ask(f'events/bulk?{query}').status_int)
        self.assertEqual(403, self.ask(
            'events/bulk?action=remove&status=error', 'operator').status_int)

    def test_nothing_unseen(self):
        """What has failed since the question is left alone."""
        old = self.failed(3)
        asked = self.ask('events/bulk.json?action=requeue&status=error').json
        new = self.failed(2)
        answer = self.post_json(
            'events/bulk', 'operator', action='requeue', status='error',
            as_of=asked['as_of'])
        self.assertEqual((3, 0, None), tuple(
            answer.json[name] for name in ('done', 'skipped', 'after')))
        self.assertEqual({QUEUED}, set(map(self.status, old)))
        self.assertEqual({ERROR}, set(map(self.status, new)))

    def test_slices(self):
        """Without a script, a button goes on until all is done."""
        self.failed(5)
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 2):
            page = self.ask('events/bulk?action=requeue&status=error')
            for done in (2, 4, 5):
                page = page.forms[0].submit()
                self.assertIn(f'Done: {done}.', page.text)
        self.assertEqual({}, page.forms)
        transaction.begin()
        self.assertEqual(5, self.service.counts()[QUEUED])

    def test_many_are_typed(self):
        """To remove more than can be told is asked for twice."""
        self.failed(3)
        sent = {'action': 'remove', 'status': 'error'}
        with mock.patch('lovely.remotetask.browser.bulkpage.TYPED', 2):
            self.assertEqual(
                409, self.post_json('events/bulk', **sent).status_int)
            self.assertEqual(200, self.post_json(
                'events/bulk', **sent, confirm='3').status_int)
        sent['function'] = 'a.b'
        self.assertEqual(
            409, self.post_json('events/bulk', **sent).status_int)
        self.assertEqual(200, self.post_json(
            'events/bulk', **sent, confirm='events').status_int)

    def test_any_name_can_be_typed(self):
        """What a page shows of a name can be typed, whatever it is."""
        for number, name in enumerate((
                '', ' ', 'two  blanks ', 'al\u202aice', 'a' * 2000,
                '1\xa02', 'a(b)&"\'<c>-[d]/\\')):
            with self.subTest(name=name):
                service = self.root[f'other{number}'] = TaskService()
                self.root.getSiteManager().registerUtility(
                    service, ITaskService, name)
                service.cancel(service.add('echo'))
                transaction.commit()
                page = self.ask(f'{place.segment(name)}/bulk?action=remove'
                                '&status=cancelled&task=echo')
                form = page.forms[0]
                shown = page.html.find('label').b.text
                form['confirm'] = ' '.join(shown.split())
                self.login('manager')
                page = form.submit(expect_errors=True)
                self.assertIn('Done: 1.', page.text)

    def test_many_become_more(self):
        """Jobs that fail while somebody types the number are left alone."""
        for typed, status in (('3', 200), ('4', 409), ('5', 409)):
            with self.subTest(typed), mock.patch(
                    'lovely.remotetask.browser.bulkpage.TYPED', 2):
                self.service.clean()
                old = self.failed(3)
                form = self.ask(
                    'events/bulk?action=remove&status=error').forms[0]
                new, = self.failed()
                form['confirm'] = typed
                self.login('manager')
                self.assertEqual(
                    status, form.submit(expect_errors=True).status_int)
                transaction.begin()
                self.assertIn(new, self.service.jobs)
                self.assertEqual(status != 200, old[0] in self.service.jobs)

    def test_the_number_is_not_forged(self):
        """What is said to have been asked must be typed all the same."""
        self.failed(3)
        with mock.patch('lovely.remotetask.browser.bulkpage.TYPED', 2):
            for sent in ({'number': 0}, {'number': '2', 'confirm': ''},
                         {'number': 2, 'confirm': '3'}):
                self.assertEqual(409, self.post_json(
                    'events/bulk', action='remove', status='error',
                    **sent).status_int)

    def test_chosen(self):
        """It is done to those that were checked."""
        first, second, third = self.failed(3)
        page = self.ask('events/jobs?status=error')
        form = page.forms[1]
        for box in form.fields['job']:
            box.checked = box._value != str(second)
        page = form.submit('action', index=0)
        self.assertIn('Done: 2.', page.text)
        self.assertEqual([QUEUED, ERROR, QUEUED], [
            self.status(each) for each in (first, second, third)])
        self.assertEqual(400, self.post_json(
            'events/bulk', action='requeue', job=['x']).status_int)

    def test_changed_meanwhile(self):
        """What is no longer what the filter shows is left alone, and told."""
        first, second = self.failed(2)
        form = self.ask('events/jobs?status=error').forms[1]
        for box in form.fields['job']:
            box.checked = True
        self.post_json(f'events/jobs/{first}/requeue')
        self.login('manager')
        buttons = [each._value for each in form.fields['action']]
        page = form.submit('action', index=buttons.index('remove'))
        self.assertIn('Done: 1.', page.text)
        self.assertIn('no longer what the list showed: 1.', page.text)
        self.assertEqual(QUEUED, self.status(first))
        self.assertNotIn(second, self.service.jobs)

    def test_changed_meanwhile_for_programs(self):
        """Any part of a filter holds for jobs that are named, too."""
        jobid, = self.failed()
        for asked, done in (({'status': 'queued'}, 0),
                            ({'function': 'a.b'}, 0),
                            ({'error_class': 'a.B', 'status': 'error'}, 0),
                            ({'since': '2999-01-01'}, 0),
                            ({'status': 'error'}, 1)):
            with self.subTest(asked):
                found = self.post_json(
                    'events/bulk', action='remove', job=[str(jobid), '4711'],
                    **asked).json
                self.assertEqual(
                    (done, 0, 2 - done),
                    (found['done'], found['skipped'], found['changed']))
        self.assertEqual(400, self.post_json(
            'events/bulk', action='remove', job=[str(jobid)],
            status='').status_int)
        self.assertEqual(400, self.post_json(
            'events/bulk', action='remove', job=[str(jobid)],
            status='x').status_int)

    def test_one_that_cannot_be_changed(self):
        """It is skipped; the others are changed, whatever their order."""
        cron = self.service.addCronJob('echo', minute=(10,))
        first, second = self.failed(2)
        self.service.cancel(cron)
        job = self.service.jobs[cron]
        # No February has so many days.
        job.month, job.dayOfMonth = (2,), (31,)
        transaction.commit()
        for chosen in ([str(cron), str(first)],
                       [str(second), '99', str(cron)]):
            answer = self.post_json(
                'events/bulk', action='requeue', job=chosen)
            self.assertEqual(
                (200, 1), (answer.status_int, answer.json.get('done')))
        self.assertEqual([QUEUED, QUEUED, CANCELLED], [
            self.status(each) for each in (first, second, cron)])

    def test_one_that_cannot_be_changed_in_a_form(self):
        """Nor does a form end in an error."""
        cron = self.service.addCronJob('echo', minute=(10,))
        self.service.cancel(cron)
        job = self.service.jobs[cron]
        job.month, job.dayOfMonth = (4,), (31,)
        transaction.commit()
        answer = self.post(
            'events/bulk', action='requeue', job=str(cron),
            token=self.token())
        self.assertIn('Done: 0.', answer.text)

    def test_nothing_by_itself(self):
        """No box is checked by a browser's memory, nor a button by Enter."""
        self.failed()
        form = self.ask('events/jobs?status=error').html.find(
            'form', 'rows')
        self.assertEqual('off', form['autocomplete'])
        # By HTML, Enter presses the first button; outside of a dialog, this
        # method does nothing.
        self.assertEqual('dialog', form.find('button').get('formmethod'))

    def test_none_chosen(self):
        """A form in which no job is checked means none, and never all."""
        self.failed(2)
        # Enter sends it, too: from a checkbox.
        page = self.ask('events/jobs?status=error').forms[1].submit(
            'action', index=0)
        self.assertIn('Done: 0.', page.text)
        for chosen in ([], [''], ''):
            self.assertEqual(0, self.post_json(
                'events/bulk', action='requeue', status='error',
                job=chosen).json['done'])
        self.assertEqual(400, self.post_json(
            'events/bulk', action='requeue', status='error',
            job=None).status_int)
        self.assertEqual(2, self.service.counts()[ERROR])

    def test_unknown(self):
        """A filter that is not understood is never taken for none."""
        self.failed(2)
        for asked in ({'staus': 'queued'}, {'error-class': 'a.B'},
                      {'filter': {'status': 'queued'}}, {'limit': 1}):
            with self.subTest(asked):
                answer = self.post_json(
                    'events/bulk', action='requeue', **asked)
                self.assertEqual(400, answer.status_int)
                self.assertIn(f'"{next(iter(asked))}"', answer.json['detail'])
        answer = self.post_json('events/bulk?status=queued', action='requeue')
        self.assertEqual(400, answer.status_int)
        self.assertIn('query', answer.json['detail'])
        self.assertEqual(2, self.service.counts()[ERROR])

    def test_hidden_characters(self):
        """A form asks for what the address did, to the last character."""
        jobid, = self.failed()
        who = 'al\u202aice\u200e é&=%2B+\x85\n.'
        self.service.jobs[jobid].errorClass = who
        transaction.commit()
        asked = {'status': 'error', 'error_class': who}
        query = urllib.parse.urlencode(asked)
        page = self.ask(f'events/bulk?action=requeue&{query}')
        self.assertNotIn('\u202a', page.text)
        with mock.patch.object(Operations, 'requeue_some', autospec=True,
                               return_value=Slice(1, 0, '1')) as some:
            page = page.forms[0].submit()
            page.forms[0].submit()
            page = self.ask('events/bulk?action=requeue&status=error')
            page.forms[0].submit()
        self.assertEqual(
            [who, who, None],
            [call.kwargs.get('errorClass') for call in some.mock_calls])

    def test_folded(self):
        """What a form says of its filter is read as strictly as JSON."""
        self.failed()
        for folded in ('x', 'staus=error', 'status=error&id=1', 'status=',
                       'status=%FF', ['status=error'], {'status': 'error'}):
            self.assertEqual(400, self.post_json(
                'events/bulk', action='remove',
                selection=folded).status_int, folded)
        self.assertEqual(400, self.post_json(
            'events/bulk', action='remove', status='queued',
            selection='status=error').status_int)
        self.assertEqual(1, self.service.counts()[ERROR])
        self.assertEqual(1, self.post_json(
            'events/bulk', action='remove',
            selection='status=error').json['done'])

    def test_blank(self):
        """What a program leaves empty by mistake is never taken for none."""
        self.failed(2)
        for name in ('status', 'function', 'principal', 'error_class',
                     'since', 'until', 'task'):
            for blank in '', ' ', None:
                with self.subTest(name, blank=blank):
                    answer = self.post_json('events/bulk', **{
                        'action': 'remove', name: blank})
                    self.assertEqual(400, answer.status_int)
                    self.assertIn(f'"{name}" is empty', answer.json['detail'])
            self.assertEqual(400, self.ask(
                f'events/bulk.json?action=remove&{name}=').status_int)
        self.assertEqual(2, self.service.counts()[ERROR])
        # In a form it was not filled in.
        self.assertEqual(200, self.ask(
            'events/bulk?action=remove&function=').status_int)

    def test_goes_on_as_told(self):
        """What an answer says can be sent again as it is."""
        self.failed(3)
        sent = {'action': 'requeue', 'status': 'error'}
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 2):
            found = self.post_json('events/bulk', **sent).json
            found = self.post_json('events/bulk', **sent, **{
                name: found[name] for name in ('done', 'skipped', 'after')})
        self.assertEqual(3, found.json['done'])
        for bad in (True, -1, 1.5, [2], '-1'):
            answer = self.post_json('events/bulk', **sent, done=bad)
            self.assertEqual(400, answer.status_int)
            self.assertIn('whole number', answer.json['detail'])

    def test_permissions(self):
        """Also the action of a JSON document needs its permission."""
        self.failed()
        for who, action in (('viewer', 'requeue'), ('operator', 'remove')):
            self.assertEqual(403, self.post_json(
                'events/bulk', who, action=action,
                status='error').status_int)
            self.assertEqual(403, self.post(
                'events/bulk', who, action=action, status='error',
                token=self.token(who)).status_int)
        self.assertEqual(1, self.service.counts()[ERROR])


class ServiceTest(ActionsTestCase):

    def test_pause(self):
        """A service is paused, and goes on."""
        page = self.post('events/pause', token=self.token()).follow()
        self.assertIn('The service is paused.', page.text)
        self.assertEqual(409, self.post_json('events/pause').status_int)
        self.assertTrue(self.ask('events/service.json').json['paused'])
        self.assertEqual(200, self.post_json('events/resume').status_int)

    def test_processing_of_one_that_lies_nowhere(self):
        """The reason is told."""
        with mock.patch.object(TaskService, 'startProcessing',
                               side_effect=ValueError('It is nowhere.')):
            answer = self.post('events/start', token=self.token())
            self.assertEqual(409, answer.status_int)
            self.assertIn('It is nowhere.', answer.text)

    def test_processing(self):
        """Where nobody works, this process can; that is remembered."""
        runs = []
        self.enterContext(mock.patch.multiple(
            TaskService, isProcessing=lambda service: bool(runs),
            startProcessing=lambda service: runs.append(service),
            stopProcessing=lambda service: runs.clear()))
        self.assertIn('start', self.offered())
        page = self.post('events/start', token=self.token()).follow()
        self.assertIn('This process runs jobs now.', page.text)
        self.assertEqual(1, len(runs))
        self.assertNotIn('start', self.offered())
        self.assertEqual(403, self.post_json(
            'events/stop', 'operator').status_int)
        self.assertIn('stop', self.offered())
        self.assertEqual(200, self.post_json('events/stop').status_int)
        self.assertEqual([], runs)
        self.assertEqual(
            ['stop_processing', 'start_processing'],
            [each['what'] for each in self.ask(
                'events/audit.json').json['actions']][:2])

    def offered(self):
        """Return what the page of the service offers to do."""
        return self.ask('events/service.json').json['actions']

    def test_tasks(self):
        """The names that can be added are told."""
        found = self.ask('events/service.json', 'viewer').json['tasks']
        self.assertEqual(sorted(found), found)
        self.assertIn('echo', found)
        self.assertIn('<code>echo</code>', self.ask('events/').text)

    def test_clean(self):
        """All that has ended is removed."""
        self.failed(2)
        self.assertEqual(200, self.post_json('events/clean').status_int)
        counts = self.ask('events/service.json').json['counts']
        self.assertEqual((0, 0), (counts[ERROR], counts[COMPLETED]))
