"""Parts of the reference that are read from the code: an extension of Sphinx.

``.. zcml::``
    All ZCML directives, from ``meta.zcml`` and their schemas.
``.. statuses::``
    The statuses, with the sentences of ``lovely.remotetask.interfaces``.
``.. command:: NAME``
    What a command prints for ``--help``, and its subcommands.
``.. interface:: DOTTED.NAME``
    An interface of zope.interface, with the signatures of its methods.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import textwrap
import unittest.mock
from pathlib import Path
from xml.etree import ElementTree

from zope.dottedname.resolve import resolve
from zope.interface.interface import Method

import gocept.async_
from gocept.async_.manage.command import HELP
from lovely.remotetask import interfaces


META = '{http://namespaces.zope.org/meta}'

# In seconds.
DAY = 24 * 60 * 60

COMMANDS = {
    'async-worker': 'gocept.async_.worker.command',
    'async-jobs': 'gocept.async_.manage.command',
    'async-upgrade': 'gocept.async_.upgrade.command',
    'async-demo': 'gocept.async_.demo.run'}

# The first line says what a parameter is, in docstrings of this project.
PARAMETER = re.compile(r'(?P<names>[*\w]+(?:, [*\w]+)*) -- (?P<text>.*)\Z',
                       re.DOTALL)
CONSTANT = re.compile(
    r"((?:^# .*\n)+)^[A-Z]+ = '(?P<status>[a-z ]+)'$", re.MULTILINE)


def zcml():
    """Return the reference of the ZCML directives, as reStructuredText."""
    path = Path(gocept.async_.__file__).with_name('meta.zcml')
    return '\n\n'.join(
        _directive(element)
        for element in ElementTree.parse(path).iter(f'{META}directive'))


def _directive(element):
    name = f'async:{element.get("name")}'
    schema = resolve(f'gocept.async_{element.get("schema")}')
    fields = sorted(
        (field for _, field in schema.namesAndDescriptions(all=True)),
        key=lambda field: field.order)
    return '\n\n'.join([
        f'{name}\n{"-" * len(name)}', rst(schema.__doc__),
        *map(_field, fields)])


def _field(field):
    text = ' '.join(filter(None, [field.description, _default(field)]))
    return (f'``{field.getName().rstrip("_")}``\n'
            f'    {escape(" ".join(text.split()))}')


def _default(field):
    """Return a sentence on the default of a field; None if there is none."""
    value = field.default
    if value is None:
        return 'You have to give it.' if field.required else None
    if value in ('', []):
        return None
    human = ''
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float):
        human = f' ({value / DAY:.3g} days)' if value >= DAY else ''
        value = f'{value:.15g}'
    return f'Default: ``{getattr(value, "__identifier__", value)}``{human}.'


def statuses():
    """Return the statuses and their sentences, as reStructuredText."""
    source = inspect.getsource(interfaces)
    found = {match['status']: ' '.join(
        match[1].replace('# ', '').split())
        for match in CONSTANT.finditer(source)}
    return '\n\n'.join(f'``{status}``\n    {escape(found[status])}'
                       for status in interfaces.STATUSES)


def command(name):
    """Return what a command prints for ``--help``, as reStructuredText."""
    main = importlib.import_module(COMMANDS[name]).main
    parts = [_shown(_help(main, '--help'))]
    for each in HELP if name == 'async-jobs' else ():
        parts += [f'.. rubric:: {name} {each}',
                  _shown(_help(main, 'ZOPE.CONF', each, '--help'))]
    return '\n\n'.join(parts)


def _shown(text):
    return '.. code-block:: none\n\n' + textwrap.indent(text, '    ')


def _help(main, *args):
    printed = io.StringIO()
    # The width does not depend on the terminal of whoever makes the pages.
    with (unittest.mock.patch.dict(os.environ, COLUMNS='79'),
          contextlib.redirect_stdout(printed),
          contextlib.suppress(SystemExit)):
        main(list(args))
    return printed.getvalue()


def interface(name):
    """Return the reference of an interface, as reStructuredText."""
    found = resolve(name)
    bases = ', '.join(f'``{each.__name__}``' for each in found.__bases__
                      if each.__module__ == found.__module__)
    parts = [rst(found.__doc__)]
    if bases:
        parts.append(f'Extends {bases}.')
    parts += [_member(found[each]) for each in sorted(
        found.names(), key=lambda each: (
            not isinstance(found[each], Method), each))]
    return f'.. py:class:: {name}\n\n' + textwrap.indent(
        '\n\n'.join(parts), '    ')


def _member(member):
    if isinstance(member, Method):
        head = f'.. py:method:: {member.__name__}{member.getSignatureString()}'
    else:
        head = f'.. py:attribute:: {member.__name__}'
    return (f'{head}\n    :no-index:\n\n'
            + textwrap.indent(rst(member.getDoc()), '    '))


def rst(doc):
    """Return a docstring of this project as reStructuredText.

    There, parameters stand as ``name -- text``; what is indented else is
    code.
    """
    doc = inspect.cleandoc(doc or '')
    return '\n\n'.join(
        _block(block) for block in re.split(r'\n\s*\n', doc) if block)


def _block(block):
    lines = block.splitlines()
    if lines[0][:1] == ' ':
        return '::\n\n' + textwrap.indent(textwrap.dedent(block), '    ')
    items, text = [], []
    for line in lines:
        if PARAMETER.match(line):
            items.append([line])
        elif items:
            items[-1].append(line.strip())
        else:
            text.append(line)
    parts = [escape('\n'.join(text))] if text else []
    for item in items:
        found = PARAMETER.match(' '.join(item))
        parts.append(f'``{found["names"]}``\n    {escape(found["text"])}')
    return '\n\n'.join(parts)


def escape(text):
    """Return plain text of this project as reStructuredText.

    What stands between backquotes is code.
    """
    parts = re.split(r'(``.+?``|`[^`]+`)', text, flags=re.DOTALL)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = f'``{" ".join(part.strip("`").split())}``'
        else:
            parts[number] = re.sub(r'([*|\\<>_])', r'\\\1', part)
    return ''.join(parts)


def setup(app):
    """Register the directives."""
    # The functions above need no Sphinx: the tests call them without.
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    def directive(make, arguments):
        class Generated(Directive):
            required_arguments = arguments

            def run(self):
                node = self.state.parent.__class__()
                source = 'generated'
                text = make(*self.arguments)
                self.state.nested_parse(
                    StringList(text.splitlines(), source),
                    self.content_offset, node, match_titles=1)
                return node.children
        return Generated

    app.add_directive('zcml', directive(zcml, 0))
    app.add_directive('statuses', directive(statuses, 0))
    app.add_directive('command', directive(command, 1))
    app.add_directive('interface', directive(interface, 1))
    app.connect('autodoc-process-docstring', _process)
    return {'parallel_read_safe': True}


def _process(app, what, name, obj, options, lines):
    lines[:] = [*rst('\n'.join(lines)).splitlines(), '']
