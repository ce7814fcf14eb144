"""The services of a running application, by the JSON of its pages."""

import datetime
import sys
from typing import Any
from urllib.parse import urlencode

from gocept.async_.manage.asking import Answer
from gocept.async_.manage.asking import Client
from gocept.async_.manage.described import FIELDS
from gocept.async_.manage.source import Bulk
from gocept.async_.manage.source import Row
from gocept.async_.manage.source import Rows
from gocept.async_.manage.source import Slice
from gocept.async_.worker.application import Refused
from lovely.remotetask.browser.place import segment


# The names in an address, by those of ITaskService.find.
NAMES = {'status': 'status', 'task': 'task', 'function': 'function',
         'principal': 'principal', 'errorClass': 'error_class',
         'since': 'since', 'until': 'until'}

TIMES = ('since', 'until')


class Remote:
    """Reads and changes the services of an application; see Source.

    client -- asking.Client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.where = f'{client.address} shows'

    def names(self) -> list[str]:
        """See Source."""
        found = self._get('+overview.json')['services']
        return [str(each['name']) for each in found]

    def status(self, name: str) -> Row:
        """See Source."""
        found = self._get(f'{segment(name)}/service.json')
        return {key: found[key] for key in (
            'counts', 'oldest_waiting', 'oldest_waiting_age', 'paused')}

    def page(self, name: str, selection: Row, after: str | None,
             limit: int) -> Rows:
        """See Source."""
        found = self._get(f'{segment(name)}/jobs.json', {
            **_query(selection), 'after': after, 'limit': limit})
        return Rows(found['jobs'], found['after'], len(found['jobs']))

    def job(self, name: str, jobid: int) -> Row | None:
        """See Source."""
        answer = self._client.get(f'{segment(name)}/jobs/{jobid}.json')
        return None if answer.code == 404 else _details(_content(answer))

    def crons(self, name: str) -> list[Row]:
        """See Source."""
        found = self._get(f'{segment(name)}/crons.json')
        if not found['complete']:
            print('async-jobs: too many jobs were changed meanwhile: some '
                  'cron jobs may be missing; try again', file=sys.stderr)
        return [{**_row(each), **_cron(each)} for each in found['crons']]

    def workers(self, name: str) -> list[Row]:
        """See Source."""
        return [{key: each[key] for key in (
            'id', 'processor', 'silent', 'claimed', 'claims')}
            for each in self._get(f'{segment(name)}/workers.json')['workers']]

    def change(self, name: str, what: str, jobid: int) -> bool | None:
        """See Source."""
        answer = self._client.post(
            f'{segment(name)}/jobs/{jobid}/{what}', {})
        return None if answer.code == 404 else _is_done(answer)

    def bulk(self, name: str, what: str, selection: Row) -> Bulk:
        """See Source."""
        query = _query(selection)
        asked = self._get(f'{segment(name)}/bulk.json',
                          {**query, 'action': what})

        def some(after: str | None) -> Slice:
            found = _content(self._client.post(
                f'{segment(name)}/bulk', {key: value for key, value in {
                    **query, 'action': what, 'as_of': asked['as_of'],
                    'number': asked['number'], 'confirm': asked['confirm'],
                    'after': after}.items()
                    if value is not None}))
            return Slice(found['done'], found['skipped'], found['after'])
        return Bulk(asked['number'], some)

    def run_now(self, name: str, jobid: int) -> str:
        """See Source."""
        return str(_content(self._client.post(
            f'{segment(name)}/jobs/{jobid}/run-now', {}))['job'])

    def set_paused(self, name: str, what: str, jobid: int | None) -> None:
        """See Source."""
        path = what if jobid is None else f'jobs/{jobid}/{what}'
        # The answer may be that it is paused, or not, already.
        _is_done(self._client.post(f'{segment(name)}/{path}', {}))

    def _get(self, path: str, query: Row | None = None) -> Row:
        asked = urlencode(
            {name: value for name, value in (query or {}).items()
             if value is not None}, errors='surrogatepass')
        return _content(self._client.get(
            f'{path}?{asked}' if asked else path))


def _content(answer: Answer) -> Row:
    """Return what was asked for.  Raise Refused if it was not answered."""
    if answer.code != 200:
        raise Refused(answer.detail or f'the answer is {answer.code}')
    return answer.content


def _is_done(answer: Answer) -> bool:
    """Return whether something was done, and not refused as meaningless."""
    return answer.code != 409 and bool(_content(answer))


def _query(selection: Row) -> dict[str, str]:
    """Return what ITaskService.find takes as the pages take it."""
    return {NAMES[name]: (datetime.datetime.fromtimestamp(
        value, datetime.UTC).isoformat() if name in TIMES else value)
        for name, value in selection.items()}


# What a list tells of a job, see described.row.
ROW = ('id', 'task', 'function', 'status', 'principal', 'priority', 'created',
       'due', 'started', 'completed', 'wait', 'run', 'attempts', 'worker',
       'error_class')


def _row(found: Row) -> Row:
    return {name: found[name] for name in ROW}


def _cron(found: Row) -> Row:
    """Return what is told of a job that runs again and again."""
    if 'pattern' not in found:
        return {}
    pattern = ' '.join(
        f'{name}={",".join(map(str, found["pattern"][name]))}'
        for name in FIELDS if found['pattern'][name])
    return {'name': found['name'],
            'pattern': pattern or 'every minute',
            'timezone': found['timezone'] or 'UTC',
            'paused': found['paused']}


def _details(found: Row) -> Row:
    """Return what `described.details` tells of a job.

    Whoever may not see arguments gets None in their place.
    """
    arguments = found.get('arguments')
    history = found['history']
    return {**_row(found), **_cron(found),
            'arguments': None if arguments is None else [
                text for each in arguments for text in _argument(each)],
            'result': _unless_none(found.get('result')),
            'error': found.get('error'),
            'traceback': history[-1].get('traceback') if history else None,
            'attempts_made': [
                {'started': each['started'], 'duration': each['duration'],
                 'worker': each['processor'],
                 'error_class': each['error_class'],
                 'error': each.get('error'),
                 'traceback': each.get('traceback')} for each in history]}


def _argument(found: Row) -> list[str]:
    name, text = found['name'], found['repr']
    if name == 'input':
        return [text] if text != 'None' else []
    return [text] if name.isdecimal() else [f'{name}={text}']


def _unless_none(text: Any) -> Any:
    return None if text == 'None' else text
