"""Pieces of HTML; all text in them is escaped here, and nowhere else."""

import html
import re


# Nearly no text has one of them, and a page has thousands of texts.
_SPECIAL = re.compile('[&<>"\']')


# Elements that never have a content, nor an end tag.
_VOID = frozenset({'input'})


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def escaped(content):
    """Return the Markup of a content: a text, a number, Markup, or several.
    """
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, list | tuple):
        return Markup(''.join(map(escaped, content)))
    return Markup(_text(content))


def _text(content):
    text = str(content)
    return html.escape(text) if _SPECIAL.search(text) else text


# What no document may hold, and what turns the direction of the text after it.
_HIDDEN = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e'
    '\u2066-\u2069'
    '\ud800-\udfff\ufffe\uffff]')


def visible(text):
    """Return a text with the numbers of hidden characters in their places.

    For a whole document: what it says comes from anybody.
    """
    return _HIDDEN.sub(lambda found: found.group().encode(
        'unicode_escape', 'backslashreplace').decode('ascii'), text)


def tag(name, content='', /, **attributes):
    """Return an element.

    content -- see `escaped`.
    attributes -- a name that is a word of Python ends in an underscore; other
        underscores stand for hyphens.  None and False leave an attribute out,
        True sets it to its name.
    """
    parts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip('_').replace('_', '-')
        parts.append(f' {key}="{_text(key if value is True else value)}"')
    start = f'<{name}{"".join(parts)}'
    return Markup(f'{start} />' if name in _VOID
                  else f'{start}>{escaped(content)}</{name}>')
