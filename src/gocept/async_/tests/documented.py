"""The files that a document shows, each under its name as the caption."""

import pathlib
import re
import textwrap

import gocept.async_


DOCS = pathlib.Path(gocept.async_.__file__).parents[3] / 'docs'

FILE = re.compile(
    r'^\.\. code-block:: \w+\n    :caption: (.+)\n\n((?:    .*\n|\n)+)', re.M)


def write(name, folder):
    """Write the files of a document into a folder."""
    for path, text in FILE.findall((DOCS / name).read_text('utf-8')):
        path = pathlib.Path(folder) / path
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).strip() + '\n', 'utf-8')
