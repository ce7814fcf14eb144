"""The alerts of the documents are rules that Prometheus takes."""

import re
import unittest
from pathlib import Path

import gocept.async_
from gocept.async_.openmetrics import Told
from gocept.async_.openmetrics import exposition
from gocept.async_.tests.test_openmetrics import functions
from gocept.async_.tests.test_openmetrics import read


RULES = (Path(gocept.async_.__file__).parents[3]
         / 'docs' / 'howto' / 'metrics' / 'alerts.yml')


KEYS = {'alert', 'expr', 'for', 'labels', 'annotations'}


def rules(text):
    """Return the rules of a file as dicts.

    Raise ValueError for what is no rule file in the form that is used here:
    YAML needs no more of a parser than this.
    """
    head, *lines = text.splitlines()
    if head != 'groups:' or lines[:2] != [
            '  - name: gocept.async', '    rules:']:
        raise ValueError('A file of rules begins with its groups.')
    found, inner = [], None
    for number, line in enumerate(lines[2:], 4):
        match = re.fullmatch(
            r'(      - |        |          )(\w+):(?: (.+))?', line)
        if match is None:
            raise ValueError(f'line {number}: {line!r}')
        indent, key, value = match.groups()
        if indent == '      - ':
            found.append({})
        if indent == '          ':
            inner[key] = scalar(value)
        else:
            inner = {} if value is None else None
            found[-1][key] = inner if value is None else scalar(value)
    return found


def scalar(text):
    """Return the text of a YAML scalar; raise ValueError if it is none."""
    if text.startswith("'"):
        if not re.fullmatch("'[^']*'", text):
            raise ValueError(text)
        return text[1:-1]
    if text[0] in '{[*&!|>%@`"#' or ': ' in text or ' #' in text:
        raise ValueError(f'{text!r} is no plain scalar')
    return text


def is_true(expr, samples):
    """Return whether an alert would fire; `increase` is from nothing."""
    absent = re.fullmatch(r'absent\((\w+)\)', expr)
    if absent is not None:
        return not any(key[0] == absent[1] for key in samples)
    match = re.fullmatch(
        r'(?:max|min|sum) by \(([\w, ]+)\) \((?:increase\()?(\w+)'
        r'(?:\{(\w+)="(\w+)"\})?(?:\[\d+[mh]\]\))?\) (>|==) (\d+)', expr)
    if match is None:
        raise ValueError(expr)
    groups, name, label, value, how, number = match.groups()
    found = [sample for key, sample in samples.items()
             if key[0] == name and (
                 label is None or (label, value) in key[1:])]
    for group in groups.split(', '):
        assert any(group in dict(key[1:]) for key in samples
                   if key[0] == name), (group, name)
    return any(each > int(number) if how == '>' else each == int(number)
               for each in found)


@unittest.skipUnless(RULES.exists(), 'The documents are not installed.')
class AlertTest(unittest.TestCase):

    def setUp(self):
        self.rules = rules(RULES.read_text('utf-8'))
        self.good = read(exposition({'events': Told(
            {'queued': 1}, 1.0, 2, False, True, functions('f'))}))

    def test_form(self):
        """Each rule has a name of its own, and says what is the matter."""
        names = [rule['alert'] for rule in self.rules]
        self.assertEqual(len(set(names)), len(names))
        for rule in self.rules:
            with self.subTest(rule['alert']):
                self.assertLessEqual(set(rule), KEYS)
                self.assertRegex(rule.get('for', '1m'), r'\A\d+[smhd]\Z')
                self.assertIn(rule['labels']['severity'],
                              ('info', 'warning', 'critical'))
                self.assertTrue(rule['annotations']['summary'])
                for text in rule['annotations'].values():
                    for part in re.findall(r'\{\{(.*?)\}\}', text):
                        self.assertRegex(part, (
                            r'\A \$(labels\.(service|function)|value'
                            r'( \| humanize(Duration)?)?) \Z'))

    def test_metrics(self):
        """What the rules ask for is what is told."""
        told = {key[0] for key in self.good}
        for rule in self.rules:
            with self.subTest(rule['alert']):
                words = set(re.findall(r'\b[a-z_]{2,}(?=\(| \(|\{|\[|\))',
                                       rule['expr']))
                names = {word for word in words if word.startswith('async_')}
                self.assertTrue(names)
                self.assertLessEqual(names, told)
                self.assertEqual(rule['expr'].count('('),
                                 rule['expr'].count(')'))

    def test_nothing_is_wrong(self):
        for rule in self.rules:
            with self.subTest(rule['alert']):
                self.assertFalse(is_true(rule['expr'], self.good))

    def test_each_fires(self):
        """Each of them for what it is made for."""
        failed = functions(*['f'] * 6, outcome='failed')
        lost = functions('f', outcome='lost')
        for name, told in (
                ('JobsWaitTooLong', {'oldest': 301.0}),
                ('JobsFail', {'functions': failed}),
                ('JobsNeedSomebody', {'counts': {'held': 1}}),
                ('JobsAreLost', {'functions': lost}),
                ('NoWorker', {'workers': 0}),
                ('ServiceCannotWork', {'works': False}),
                ('PausedForLong', {'paused': True})):
            rule, = (rule for rule in self.rules if rule['alert'] == name)
            with self.subTest(name):
                self.assertTrue(is_true(
                    rule['expr'], read(exposition({'events': Told(**told)}))))
        rule, = (rule for rule in self.rules
                 if rule['alert'] == 'NothingIsTold')
        self.assertTrue(is_true(rule['expr'], read(exposition({}))))
        self.assertEqual(8, len(self.rules))
