"""The documents, read as their readers do: what to write, type and click.

In a document

- a block of code is run by the test of that document, in the order of the
  page;
- ``.. not run: WHY`` before a block says why it is not;
- ``.. run by: test_MODULE`` before a block names another test that runs it;
- ``.. all run by: test_MODULE`` and ``.. all not run: WHY`` say the same of
  all blocks of the document.
"""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple


ROOT = Path(__file__).parents[4]
DOCS = ROOT / 'docs'

# One of them is a comment: Sphinx does not show it.
DIRECTIVE = re.compile(
    r' *\.\. (?P<kind>(?:sourcecode|code-block|code|parsed-literal|prompt|'
    r'testcode|literalinclude)::|invisible-code-block:) *(?P<argument>.*)\Z')
OPTION = re.compile(r' *:(?P<name>[\w-]+): *(?P<value>.*)\Z')
NOTE = re.compile(r' *\.\. (?P<verb>[a-z][a-z -]*): (?P<text>.*)\Z')
# A paragraph that introduces a literal block; a directive's name has no space
# between it and the colons.
LITERAL = re.compile(r'(?! *\.\. [\w-]+::)(?P<lead>.*)::\Z')


class Block(NamedTuple):
    """A block of code in a document.

    language -- of the code; `doctest`, `include` or `literal` where none is
        given.
    caption -- the name of the file that it is, or ''.
    text -- the code, without its indentation; the path of an `include`.
    line -- number of its first line, from 1.
    notes -- dict: what the comments right before it say.
    """

    language: str
    caption: str
    text: str
    line: int
    notes: dict


class Note(NamedTuple):
    """A comment that tells a test what the reader does."""

    verb: str
    text: str


# The border of a simple table, and what may stand in its first column.
BORDER = re.compile(r'=+(  +=+)+ *\Z')
FIRST = re.compile(r'(``[\w./*-]+``)? *\Z')

# What is said of a block, and is nothing that a reader does.
OF_BLOCKS = 'not run', 'run by', 'all run by', 'all not run'


def paths():
    """Return the paths of all documents; none where they are missing."""
    return sorted([*ROOT.glob('*.rst'), *DOCS.rglob('*.rst')]
                  if DOCS.exists() else ())


def blocks(path):
    """Return the blocks of a document."""
    return [step for step in steps(path) if isinstance(step, Block)]


def write_files(path, folder):
    """Write the files that a document shows into a folder."""
    for block in blocks(path):
        if block.caption:
            target = Path(folder) / block.caption
            target.parent.mkdir(exist_ok=True)
            target.write_text(block.text, encoding='utf-8')


def steps(path):
    """Return blocks and notes of a document, in their order."""
    lines = path.read_text(encoding='utf-8').splitlines()
    found, notes, number = [], {}, 0
    while number < len(lines):
        line = lines[number]
        note = NOTE.match(line)
        block, after = _block(lines, number, notes)
        number = after
        if block is not None:
            found.append(block)
            notes = {}
        elif note is not None and note['verb'] in OF_BLOCKS:
            number, text = _sentence(lines, number - 1, note['text'])
            notes[note['verb']] = text
        elif note is not None:
            found.append(Note(note['verb'], note['text']))
        elif line.strip():
            notes = {}
    return found


def whole(path):
    """Return what is said of all blocks of a document, as notes (dict)."""
    return dict(re.findall(
        r'^\.\. all ((?:not )?run(?: by)?): (.+)$',
        path.read_text(encoding='utf-8'), re.MULTILINE))


def wrapping_tables(path):
    """Return the cells of first columns that may go on in a next line.

    A simple table takes that line for another row.  So there only code may
    stand in the first column; other tables are written as lists.
    """
    inside, width, found = 0, 0, []
    for line in path.read_text(encoding='utf-8').splitlines():
        if BORDER.match(line):
            width = width or line.rstrip().index(' ')
            # The first row is the header, if another border follows it.
            inside = (inside + 1) % 3
        elif not line.strip() and inside == 2:
            inside = width = 0
        elif inside == 2 and not FIRST.match(line[:width]):
            found.append(line[:width])
        width = width if inside else 0
    return found


def _sentence(lines, number, text):
    """Return the number of the line after a comment, and all its text."""
    depth = _depth(lines[number])
    number += 1
    while number < len(lines) and lines[number].strip() and (
            _depth(lines[number]) > depth):
        text += f' {lines[number].strip()}'
        number += 1
    return number, text


def _block(lines, number, notes):
    """Return the block that begins in a line, and the number after it.

    None, and the number of the next line, where none begins.
    """
    line = lines[number]
    directive, literal = DIRECTIVE.match(line), LITERAL.match(line)
    if directive is not None:
        return _of_directive(lines, number, directive, notes)
    if literal is not None:
        return _body('literal', '', lines, number, notes)
    if line.lstrip().startswith('>>> '):
        end = number
        while end < len(lines) and lines[end].strip():
            end += 1
        text = textwrap.dedent('\n'.join(lines[number:end])) + '\n'
        return Block('doctest', '', text, number + 1, notes), end
    return None, number + 1


def _of_directive(lines, number, directive, notes):
    first, options = number + 1, {}
    while first < len(lines) and (option := OPTION.match(lines[first])):
        options[option['name']] = option['value']
        first += 1
    if directive['kind'] == 'literalinclude::':
        return Block('include', '', directive['argument'], number + 1,
                     notes), first
    if directive['kind'] == 'invisible-code-block:':
        notes = {**notes, 'invisible': ''}
    return _body(directive['argument'], options.get('caption', ''), lines,
                 first - 1, notes, _depth(lines[number]))


def _body(language, caption, lines, number, notes, depth=None):
    """Return the block of the lines that are indented after a line."""
    depth = _depth(lines[number]) if depth is None else depth
    first = end = number + 1
    while end < len(lines) and (
            not lines[end].strip() or _depth(lines[end]) > depth):
        end += 1
    text = textwrap.dedent('\n'.join(lines[first:end])).strip('\n')
    if not text:
        return None, number + 1
    while not lines[first].strip():
        first += 1
    return Block(language, caption, f'{text}\n', first + 1, notes), end


def _depth(line):
    return len(line) - len(line.lstrip())
