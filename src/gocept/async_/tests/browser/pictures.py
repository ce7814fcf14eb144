"""Pictures of the pages, for docs/pages.rst and for whoever changes them."""

from pathlib import Path

from gocept.async_.tests.browser import scenes
from gocept.async_.tests.browser.driver import Browser
from gocept.async_.tests.browser.stage import Stage


# What a picture is called, and what it shows.
PAGES = {'overview': '', 'service': 'events/', 'jobs': 'events/jobs',
         'failed': 'events/jobs?status=error', 'crons': 'events/crons',
         'workers': 'events/workers', 'audit': 'events/audit'}

SIZES = {'wide': (1280, 800), 'narrow': (320, 720)}


def take(folder, scene=None, sizes=SIZES, schemes=('light', 'dark'),
         pages=None):
    """Make pictures of all pages.

    folder -- Path of where they go.
    scene -- name of a function of `scenes`; nothing is there without one.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    stage, browser = Stage(), Browser()
    try:
        if scene is not None:
            getattr(scenes, scene)(stage)
        browser.login(stage.server.url, 'manager')
        for name, address in (pages or addresses(stage)).items():
            for size, (width, height) in sizes.items():
                browser.resize(width, height)
                for scheme in schemes:
                    browser.prefer(scheme)
                    browser.open(f'{stage.server.url}/@@async/{address}')
                    Path(folder, f'{name}-{size}-{scheme}.png').write_bytes(
                        browser.picture())
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
