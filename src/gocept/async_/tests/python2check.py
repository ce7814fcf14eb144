"""Start the ported application on a database of Python 2, and compare.

    python -m gocept.async_.tests.python2check ZONE ...

All jobs are run, in each of the time zones; what differs from what Python 2
says of them, or from what the documents promise, is printed as JSON: a
mapping of zone to a list of texts.  A process of its own: the application
brings its ZCML, and the time zone is that of the process.
"""

import json
import logging
import os
import sys
import tempfile
import time

import transaction

from gocept.async_.tests import python2data
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.running.server import server


# What a function gets on Python 3, by the name of the value.
VALUES = {
    'str': "'plain'", 'utf8': "'Müller'", 'latin1': r"b'M\xfcller'",
    'unicode': "'Müller €'", 'binary': r"b'\xff\x00\xfe'",
    # This cannot be told from text.
    'binary-valid-utf8': r"'\x00\x01\x02\x03'",
    'md5': r"b'\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\t\x98\xec\xf8B~'",
    'empty': "''", 'none': 'None', 'bool': 'True', 'int': '7',
    'long': str(2 ** 80), 'smalllong': '5', 'neglong': str(-2 ** 70),
    'float': '1.5', 'complex': '2j',
    'datetime': 'datetime.datetime(2010, 3, 28, 2, 30, 15, 999999)',
    'datetime1999': 'datetime.datetime(1999, 12, 31, 23, 59)',
    'date': 'datetime.date(2010, 12, 24)', 'time': 'datetime.time(11, 22, 33)',
    'decimal': "Decimal('12.50')", 'sets.Set': '{1, 2}',
    'list': "['a', ['b', ('c',)]]",
    'mydict': "{'a': 1}", 'mylist': "[1, 'b']", 'mystr': "'Mü'",
    'myunicode': "'Mü'", 'myint': '3', 'exception': "ValueError('x', 1)",
    'plist': "[1, 'x']", 'pmapping': "{'a': 1}",
    'bytearray': r"bytearray(b'ab\xff')", 'type-unicode': "<class 'str'>",
    'type-long': "<class 'int'>", 're': "re.compile('a.b')",
    'message': "'hello'"}

# How jobs end that do not complete, by their marker.
ENDS = {
    'site deleted': 'error', 'principal gone': 'error', 'removed': 'held',
    'undecorated': 'held', 'signature': 'held', 'gone class': 'held',
    'gone old-style class': 'held', 'gone persistent class': 'held'}


class Comparison:
    """What differs, of one start of the application."""

    def __init__(self):
        self.problems = []
        self.number = 0

    def check(self, what, expected, found):
        if expected != found:
            self.problems.append(
                f'{what}: expected {expected!r}, found {found!r}')

    def compare(self, db):
        """Compare all services with what Python 2 says of them."""
        connection = db.open()
        root = server().root(connection)
        for record in python2data.expected():
            site = server().find(root, record['site'].split('/')[1:]
                                 if record['site'] != '/' else [])
            service = server().service_of(site, record['name'])
            self._compare_service(db, service, record)
        transaction.abort()
        connection.close()

    def _compare_service(self, db, service, record):
        for old in record['jobs']:
            self.number += 1
            self._compare_stored(service.jobs[old['id']], old)
        transaction.commit()
        queued = [old for old in record['jobs'] if old['status'] == QUEUED]
        ran = run_all(db, service)
        ids = [old['id'] for old in queued]
        self.check(f'{record["name"]}: each once, in the order of creation',
                   ids, [jobid for jobid in ran if jobid in ids])
        calls = take_calls()
        for old in queued:
            if 'marker' in old:
                self._compare_run(service.jobs[old['id']], old,
                                  calls.get(old['marker']))

    def _compare_stored(self, job, old):
        what = old.get('marker', old.get('input'))
        if old['status'] != CRONJOB or 'never' not in what:
            self.check(f'{what}: status', old['status'], job.status)
        if 'overdue cron' in what or (
                old['status'] == DELAYED and 'due' in old):
            self.check(f'{what}: due', old['due'], job.due)

    def _compare_run(self, job, old, call):
        marker = old['marker']
        status = ENDS.get(marker, 'completed')
        self.check(f'{marker}: status in the end', status, job.status)
        self.check(f'{marker}: was called', status == 'completed',
                   call is not None)
        if call is None:
            return
        site = old['site'] if old['site'] is None else old['site'] or 'root'
        self.check(f'{marker}: principal, site', (old['principal'], site),
                   call[1:3])
        value = VALUES.get(marker.removeprefix('value '))
        if value is not None:
            self.check(f'{marker}: value', f'(({value},), {{}})',
                       call[3].replace('MyDict', ''))


def run_all(db, service):
    """Run all that is due now; return the ids, in their order."""
    processor = SimpleProcessor(db, service_path(service))
    transaction.abort()
    ran = []
    now = time.time()
    while (jobid := processor.claimNextJob(now)) is not None:
        processor.processNext(jobid)
        ran.append(jobid)
    transaction.begin()
    return ran


def take_calls():
    """Return the calls since the last time by their markers."""
    done = sys.modules['py2shop.jobs'].done
    found = {call[0]: call for call in done}
    done.clear()
    return found


def compare_in(zone):
    """Return what differs in a time zone."""
    os.environ['TZ'] = zone
    time.tzset()
    with tempfile.TemporaryDirectory() as folder:
        data = python2data.unpack('core-py3', folder)
        db = server().read(python2data.configure(data)).start()
        comparison = Comparison()
        comparison.compare(db)
        db.close()
    comparison.check('number of jobs', 161, comparison.number)
    return comparison.problems


def main():
    logging.disable(logging.CRITICAL)
    python2data.make_importable()
    print(json.dumps({zone: compare_in(zone) for zone in sys.argv[1:]}))


if __name__ == '__main__':
    main()
