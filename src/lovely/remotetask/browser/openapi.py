"""The JSON of the pages, described by OpenAPI 3.1.

Paths are made of the tables that lead to the pages; a test compares the
schemas with answers.
"""

from lovely.remotetask import interfaces
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.bulkpage import BULK
from lovely.remotetask.browser.cronadd import NAME as ADD
from lovely.remotetask.browser.cronedit import NAME as PATTERN
from lovely.remotetask.browser.cronwords import FIELDS
from lovely.remotetask.browser.metrics import RANGES
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.serviceaction import KINDS


STRING = {'type': 'string'}
TEXT = {'type': ['string', 'null']}
WHOLE = {'type': 'integer'}
NUMBER = {'type': ['number', 'null']}
FLAG = {'type': 'boolean'}
TIME = {'type': ['string', 'null'], 'format': 'date-time'}
COUNTS = {'type': 'object', 'additionalProperties': WHOLE}
PAIRS = {'type': 'object', 'additionalProperties': STRING}


def _list(items):
    return {'type': 'array', 'items': items}


def _object(optional=(), **properties):
    return {'type': 'object', 'properties': properties,
            'required': [name for name in properties
                         if name not in optional],
            'additionalProperties': False}


def _asked(required=(), **properties):
    """Return the schema of what is sent."""
    return {'type': 'object', 'properties': properties,
            'required': list(required), 'additionalProperties': False}


def _ref(name):
    return {'$ref': f'#/components/schemas/{name}'}


ROW = {
    'id': {**STRING, 'description': 'A whole number; too large for some '
                                    'readers of JSON, so it is a text.'},
    'task': STRING, 'function': STRING,
    'status': {**STRING, 'enum': list(interfaces.STATUSES)},
    'principal': TEXT, 'priority': WHOLE, 'created': TIME, 'due': TIME,
    'started': TIME, 'completed': TIME,
    'wait': {**NUMBER, 'description': 'Seconds until its first run.'},
    'run': {**NUMBER, 'description': 'Seconds that its last run took.'},
    'attempts': WHOLE, 'worker': TEXT, 'error_class': TEXT}

PATTERNS = _object(**{name: _list(WHOLE) for name in FIELDS})

SUMMARY = {'paused': FLAG, 'counts': COUNTS, 'oldest_waiting': TIME,
           'oldest_waiting_age': NUMBER,
           'workers': WHOLE, 'processing': FLAG, 'unreadable': WHOLE}

# What was counted of runs; times in seconds, None: not known.
COUNTED = {
    **dict.fromkeys(
        ('completed', 'failed', 'retried', 'conflicts', 'lost'), WHOLE),
    **dict.fromkeys(
        ('run_median', 'run_most', 'wait_median', 'wait_most'), NUMBER),
    'run_seconds': {'type': 'number'}}

HOUR = {'failed_last_hour': WHOLE}

# What only those are told who may see what jobs are about.
PRIVATE = ('error', 'arguments', 'result')

SCHEMAS = {
    'Overview': _object(services=_list(_object(
        ('broken', *SUMMARY, *HOUR, 'last_hour'), name=STRING, url=STRING,
        broken=STRING, **SUMMARY, **HOUR, last_hour=_list({
            'anyOf': [{'type': 'null'}, _list(WHOLE)],
            'description': 'By the minute: completed and failed; null: there '
                           'was no worker.'})))),
    'Service': _object(**SUMMARY, **HOUR, functions=_list(_object(
        function=STRING, **COUNTED)), failures=_list(_object(
        function=STRING, error_class=TEXT, number=WHOLE, last=TIME,
        job=STRING)), tasks=_list(STRING), actions=_list(STRING)),
    'Row': _object(**ROW),
    'Jobs': _object(filter=PAIRS, counts=COUNTS, jobs=_list(_ref('Row')),
                    after=TEXT, looked_back_to=TIME),
    'Job': _object(
        (*PRIVATE, 'pattern', 'timezone', 'paused', 'name'), **ROW,
        history=_list(_object(
            ('error', 'traceback'), started=TIME, duration=NUMBER,
            processor=STRING, error_class=TEXT, lost=FLAG, error=TEXT,
            traceback=TEXT)),
        claim={'anyOf': [{'type': 'null'}, _object(
            processor=STRING, attempt=WHOLE, time=TIME, heard_of=TIME)]},
        removed_at=TIME, previous_failure=TEXT,
        actions=_list(STRING), pattern=PATTERNS, timezone=TEXT, paused=FLAG,
        name=TEXT,
        error=TEXT,
        arguments=_list(_object(name=STRING, repr=STRING)), result=STRING),
    'Crons': _object(complete=FLAG, crons=_list(_object(
        **ROW, pattern=PATTERNS, timezone=TEXT, name=TEXT, paused=FLAG,
        overdue=FLAG,
        runs=_list(_object(started=TIME, duration=NUMBER,
                           error_class=TEXT)), actions=_list(STRING)))),
    'CronForm': _object(
        fields=PAIRS, pattern={'anyOf': [{'type': 'null'}, PATTERNS]},
        next=_list(TIME), trouble=TEXT, function=TEXT,
        functions=_list(STRING)),
    'Workers': _object(workers=_list(_object(
        id=STRING, processor=STRING, heartbeat=TIME, silent=NUMBER,
        claims=_list(_object(job=STRING, since=TIME)),
        state={**STRING, 'enum': ['alive', 'late', 'gone']}, kind=TEXT,
        threads={'type': ['integer', 'null']}, memory=NUMBER, started=TIME,
        claimed=WHOLE,
        jobs=_list(STRING)))),
    'Metrics': _object(
        range=STRING, seconds=WHOLE, since=TIME,
        slices=_list(_object(
            start=TIME, waiting={'type': ['integer', 'null']},
            oldest_waiting_age=NUMBER, **COUNTED)),
        functions=_list(_object(function=STRING, **COUNTED))),
    'Audit': _object(actions=_list(_object(
        time=TIME, who=TEXT, what=STRING, job=TEXT,
        selection={'type': 'object'}, number=WHOLE))),
    'Question': _object(
        action=STRING, filter=PAIRS, number={'type': ['integer', 'null']},
        as_of=TEXT, confirm=TEXT, sample=_list(_ref('Row')), more=FLAG),
    'Slice': _object(('changed',), action=STRING, filter=PAIRS, as_of=TEXT,
                     done=WHOLE, skipped=WHOLE, changed=WHOLE, after=TEXT),
    'Done': _object(('job', 'number'), done=FLAG, job=STRING,
                    number={'type': ['integer', 'null']}),
    'Problem': _object(type=STRING, title=STRING, status=WHOLE,
                       detail=STRING),
}

SELECTION = [{'name': name, 'in': 'query', 'schema': STRING}
             for name in Selection._fields]

PAGES = {
    'service.json': ('Service', ()),
    'jobs.json': ('Jobs', (*SELECTION, *(
        {'name': name, 'in': 'query', 'schema': STRING}
        for name in ('id', 'after', 'limit')))),
    'jobs/{id}.json': ('Job', ()),
    'crons.json': ('Crons', ()),
    'cron-add.json': ('CronForm', tuple(
        {'name': name, 'in': 'query', 'schema': STRING}
        for name in (*FIELDS, 'timezone', 'delay', 'function'))),
    'workers.json': ('Workers', ()),
    'metrics.json': ('Metrics', (
        {'name': 'range', 'in': 'query',
         'schema': {**STRING, 'enum': list(RANGES)}},)),
    'audit.json': ('Audit', ()),
    'bulk.json': ('Question', (
        {'name': 'action', 'in': 'query', 'required': True,
         'schema': {**STRING, 'enum': list(BULK)}}, *SELECTION)),
}

NUMBERS = {'anyOf': [STRING, WHOLE, _list(WHOLE)]}

PATTERN_SENT = {**dict.fromkeys(FIELDS, NUMBERS), 'timezone': STRING}

COUNT = {'type': ['integer', 'string']}

ASKED = _asked(
    ('action',), action={**STRING, 'enum': list(BULK)},
    **dict.fromkeys((*Selection._fields, 'as_of', 'after', 'confirm'), STRING),
    number=COUNT, done=COUNT, skipped=COUNT, job=_list(STRING))


def document(title, server='./'):
    """Return the description of the JSON below an overview: a dict."""
    paths = {'+overview.json': _get('Overview', ())}
    for path, (schema, parameters) in PAGES.items():
        paths[f'{{service}}/{path}'] = _get(schema, parameters)
    for name in KINDS:
        paths[f'{{service}}/{name}'] = _post('Done', _asked())
    for name in ACTIONS:
        paths[f'{{service}}/jobs/{{id}}/{name}'] = _post(
            'Done', _asked(status=STRING))
    paths[f'{{service}}/jobs/{{id}}/{PATTERN}'] = _post(
        'Done', _asked(**PATTERN_SENT))
    paths[f'{{service}}/{ADD}'] = _post('Done', _asked(
        ('function',), **PATTERN_SENT,
        delay={'type': ['string', 'number']}, function=STRING))
    paths['{service}/bulk'] = _post('Slice', ASKED)
    return {
        'openapi': '3.1.0',
        'info': {'title': title, 'version': '1',
                 'description': 'What is sent is sent as application/json.'},
        'servers': [{'url': server}],
        'paths': {f'/{path}': {**each, **_named(path)}
                  for path, each in paths.items()},
        'components': {'schemas': SCHEMAS}}


def _named(path):
    """Return the parameters in a path, as a part of its description."""
    found = [{'name': name, 'in': 'path', 'required': True, 'schema': STRING}
             for name in ('service', 'id') if f'{{{name}}}' in path]
    return {'parameters': found} if found else {}


def _answers(schema):
    return {
        '200': {'description': 'As asked.', 'content': {
            'application/json': {'schema': _ref(schema)}}},
        'default': {'description': 'Not as asked.', 'content': {
            'application/problem+json': {'schema': _ref('Problem')}}}}


def _get(schema, parameters):
    return {'get': {'parameters': list(parameters),
                    'responses': _answers(schema)}}


def _post(schema, body):
    return {'post': {
        'requestBody': {'content': {'application/json': {'schema': body}}},
        'responses': _answers(schema)}}
