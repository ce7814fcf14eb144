"""What the application does, without a processor."""

import pytest
import transaction
import webtest
from conftest import LAYER
from grokcore.site.util import create_application
from notes.app import Notes
from notes.app import count_words


@pytest.fixture
def browser(async_services):
    """A browser for an application with the name `notes`."""
    create_application(Notes, async_services.root, 'notes')
    transaction.commit()
    return webtest.TestApp(LAYER.make_wsgi_app())


def test_the_words_of_a_note_are_counted_by_a_job(async_services, browser):
    browser.get('/notes/add?text=to+be+or+not')
    note = async_services.root['notes']['1']
    async_services.assert_enqueued(count_words, note)
    assert '1: not yet' in browser.get('/notes').text

    async_services.process('notes')
    assert '1: 4' in browser.get('/notes').text


@pytest.fixture
def manager(browser):
    """The same browser; its user may do everything."""
    browser.authorization = 'Basic', ('manager', 'secret')
    return browser


def test_the_pages_show_the_job(async_services, manager):
    manager.get('/notes/add?text=to+be')
    job, = async_services.enqueued(count_words)
    assert 'notes.app.count_words' in manager.get('/@@async/notes/jobs')
    assert 'app.Note' in manager.get(f'/@@async/notes/jobs/{job.id}')
    assert manager.get('/@@async/notes/jobs.json').json['jobs']
    # Also from the application, which sees the service of the root folder.
    assert 'notes' in manager.get('/notes/@@async/')


def test_a_job_is_cancelled_on_its_page(async_services, manager):
    manager.get('/notes/add?text=to+be')
    job, = async_services.enqueued(count_words)
    page = manager.get(f'/@@async/notes/jobs/{job.id}')
    cancel, = (form for form in page.forms.values()
               if '/cancel?' in form.action)
    cancel.submit().follow()
    transaction.begin()
    assert job.status == 'cancelled'


@pytest.mark.parametrize('path', ['', 'notes/', 'notes/jobs'])
def test_nobody_else_sees_the_pages(browser, path):
    browser.get(f'/@@async/{path}', status=401)
    browser.authorization = 'Basic', ('ann', 'secret')
    assert browser.get(f'/@@async/{path}', status='*').status_int in (401, 403)
