"""Pictures of the pages, for docs/howto/pages.rst and whoever changes them."""

import itertools
from pathlib import Path

from gocept.async_.tests.browser import scenes
from gocept.async_.tests.browser.driver import Browser
from gocept.async_.tests.browser.stage import Stage


# What a picture is called, and what it shows.
PAGES = {'overview': '', 'service': 'events/', 'jobs': 'events/jobs',
         'failed': 'events/jobs?status=error', 'crons': 'events/crons',
         'cron-add': 'events/cron-add?function=shop.stock.reorder&hour=2'
                     '&dayOfWeek=mon-fri&timezone=Europe/Berlin',
         'workers': 'events/workers', 'audit': 'events/audit'}

SIZES = {'wide': (1280, 640), 'narrow': (320, 640)}


# Those that docs/howto/pages.rst shows.
SHOWN = ('overview-wide-light', 'service-wide-light', 'jobs-wide-light',
         'job-error-wide-light', 'jobs-narrow-dark', 'cron-add-wide-light')


# And docs/howto/screens.rst, among the screens of zope.app.
AMONG_SCREENS = {'screens': '++etc++site/default/events/@@async/jobs'}


def take(folder, scene=None, only=None):
    """Make pictures of all pages.

    folder -- Path of where they go.
    scene -- name of a function of `scenes`; nothing is there without one.
    only -- names of pictures; default: all.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    stage, browser = Stage(), Browser()
    try:
        if scene is not None:
            getattr(scenes, scene)(stage)
        browser.login(stage.server.url, 'manager')
        for page, size, scheme in itertools.product(
                addresses(stage).items(), SIZES.items(), ('light', 'dark')):
            name = f'{page[0]}-{size[0]}-{scheme}'
            if only is None or name in only:
                browser.resize(*size[1])
                browser.prefer(scheme)
                browser.open(f'{stage.server.url}/@@async/{page[1]}')
                Path(folder, f'{name}.png').write_bytes(browser.picture())
    finally:
        browser.close()
        stage.close()


def addresses(stage):
    """Return the pages, and one of a job of each kind."""
    found = dict(PAGES)
    with stage.service() as service:
        for status in ('error', 'completed', 'held'):
            for job in service.find(status=status, limit=1).jobs:
                found[f'job-{status}'] = f'events/jobs/{job.id}'
    return found


def take_among_screens(folder):
    """Make the pictures for which zope.app.zcmlfiles is needed."""
    stage, browser = Stage('rotterdam.zcml'), Browser()
    try:
        scenes.few(stage)
        browser.login(stage.server.url, 'manager')
        browser.resize(*SIZES['wide'])
        browser.prefer('light')
        for name, path in AMONG_SCREENS.items():
            browser.open(f'{stage.server.url}/{path}')
            Path(folder, f'{name}.png').write_bytes(browser.picture())
    finally:
        browser.close()
        stage.close()
