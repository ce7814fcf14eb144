"""Texts of others as plain ones: of a limited length, on one line."""


# What is kept of a message, in characters.
MESSAGE_SIZE = 4 * 1024

# A part of a traceback: a line of a program, or the message in it.
PART_SIZE = 2 * MESSAGE_SIZE

# What is kept of a name, or a place in a program.
NAME_SIZE = 500


def plain(text: str, size: int = MESSAGE_SIZE) -> str:
    """Return a text as an exact str of limited length.

    The methods of a subclass of str are the application's.
    """
    if type(text) is str and len(text) <= size:
        return text
    length = str.__len__(text)
    # str itself is asked: the method of a subclass may return anything.
    start = str.__getitem__(text, slice(0, size))
    if length > size:
        end = str.__getitem__(text, slice(length - size // 4, length))
        start = (f'{str.__getitem__(text, slice(0, size - size // 4 - 40))}'
                 f' ... ({length} characters) ... {end}')
    # A slice of everything may be the text itself.
    return str.encode(start, 'utf-8', 'surrogatepass').decode(
        'utf-8', 'surrogatepass')


def escaped(text: str) -> str:
    """Return a text on one line, without control characters and surrogates.
    """
    if text.isprintable():
        return text
    return ''.join(
        char if char.isprintable() or char == ' '
        else char.encode('unicode_escape', 'backslashreplace').decode('ascii')
        for char in text)


def one_line(text: str, size: int = NAME_SIZE) -> str:
    """Return a text as a plain and printable one, on one line."""
    return plain(escaped(plain(text, size)), size)


class Lines(str):
    """A text of several lines, of which each was escaped."""

    __slots__ = ()


def lines_of(text: str) -> Lines:
    """Return the lines of a text, each escaped."""
    return Lines('\n'.join(map(escaped, text.rstrip('\n').split('\n'))))
