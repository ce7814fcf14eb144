"""What an action has done, said once: on the page to which it leads.

A cookie takes it there, so that no address says what was true once only.  It
holds for one page of one service and its reader, and is gone when it was
shown.
"""

from typing import Any


COOKIE = 'async-said'

# Seconds in which the page is shown, if it is at all.
SECONDS = 60


def leave(page: Any, name: str, where: str) -> None:
    """Leave word of an action.

    page -- the Page that has done it.
    name -- of the action.
    where -- the page that is to say so, below the service.
    """
    page.request.response.setCookie(
        COOKIE, f'{name}.{_mark(page, name, where)}', path='/',
        max_age=SECONDS, httponly=True, samesite='Lax')


def take(page: Any, where: str) -> str | None:
    """Return the name of the action of which a page is to tell, or None."""
    # A page that looks at itself again shows nothing of that.
    found = '' if 'fragment' in page.request.form else (
        page.request.getCookies().get(COOKIE, ''))
    name, _, mark = found.partition('.')
    if not page.management.accepts_token(
            _subject(page, name, where), mark):
        return None
    page.request.response.expireCookie(COOKIE, path='/')
    return name


def _mark(page: Any, name: str, where: str) -> str:
    return page.management.make_token(_subject(page, name, where))


def _subject(page: Any, name: str, where: str) -> str:
    # No principal has a line feed in its id: this is no token of a form.
    return '\n'.join((page.request.principal.id, where, name))
