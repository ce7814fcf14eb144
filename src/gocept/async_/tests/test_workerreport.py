"""Lines between a worker process and the main process."""

import json
import os
import sys
import tempfile
import unittest

from gocept.async_.worker.report import Report
from gocept.async_.worker.report import parse
from gocept.async_.worker.report import pipe


class ReportTest(unittest.TestCase):

    def setUp(self):
        self.read, self.write = os.pipe()
        self.addCleanup(os.close, self.write)
        self.report = Report(self.write)

    def test_line(self):
        """A report is a line of JSON."""
        self.addCleanup(os.close, self.read)
        self.report.send(jobs=3)
        self.assertEqual({'jobs': 3}, json.loads(os.read(self.read, 100)))

    @unittest.skipUnless(sys.platform == 'linux', 'Pipes of others are short.')
    def test_long_line(self):
        """It is in the pipe at once: the last one has no other turn."""
        self.addCleanup(os.close, self.read)
        read, write = pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        Report(write).send(problem='x' * 500_000)
        self.assertLess(500_000, len(os.read(read, 1_000_000)))

    def test_nobody_reads(self):
        """A full pipe stops nobody, and no line is torn."""
        self.addCleanup(os.close, self.read)
        for number in range(100):
            self.report.send(number=number, text='x' * 5000)
        data = os.read(self.read, 10 ** 6)
        self.report.send(number=-1)
        data += os.read(self.read, 10 ** 6)
        lines = [json.loads(line) for line in data.splitlines()]
        self.assertEqual(list(range(len(lines))),
                         [line['number'] for line in lines])

    def test_reader_is_gone(self):
        """Who reports learns that nobody listens any more."""
        os.close(self.read)
        self.report.send(jobs=3)
        self.assertTrue(self.report.gone)

    def test_number_of_another_file(self):
        """A job closes all descriptors, and a file gets that of the pipe."""
        self.addCleanup(os.close, self.read)
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), self.write)
            self.report.send(jobs=3)
            self.assertEqual(b'', file.read())
        self.assertTrue(self.report.gone)

    def test_closed(self):
        """A job closes all descriptors, and that is all."""
        self.addCleanup(os.close, self.read)
        os.close(self.write)
        try:
            self.report.send(jobs=3)
        finally:
            os.dup2(self.read, self.write)
        self.assertTrue(self.report.gone)


class ParseTest(unittest.TestCase):

    def test_what_is_reported(self):
        """All that a process tells is understood."""
        said = {'ready': False, 'problem': None, 'age': None, 'silent': 0.0,
                'services': {'events': None}, 'jobs': 3, 'memory': 47.5,
                'stopping': 'asked to'}
        self.assertEqual(said, parse(json.dumps(said).encode()))

    def test_garbage(self):
        """Nothing else is."""
        for line in (
                b'', b'garbage', b'\xff\xfe', b'3', b'[]', b'{}', b'null',
                b'{"else": 1}', b'{"jobs": "3"}', b'{"jobs": -1}',
                b'{"jobs": 1e3}', b'{"jobs": null}', b'{"ready": "yes"}',
                b'{"services": []}', b'{"memory": NaN}', b'{"age": Infinity}',
                b'{"age": 1e999}', b'{"silent": -1}', b'{"memory": "x"}',
                b'{"problem": 5}', b'{"stopping": null}',
                b'{"services": {"a": 1e999}}', b'[' * 10 ** 6,
                b'{"jobs": %s}' % (b'9' * 4000)):
            with self.subTest(line[:40]), \
                    self.assertRaises((ValueError, RecursionError)):
                parse(line)
