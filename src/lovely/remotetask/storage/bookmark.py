"""Where a page of jobs ends, as a text for addresses.

It may have to tell how far the page has come in each strand of a thousand
lanes: so it is packed, a few characters for each.  Whoever reads it does not
know who has written it.
"""

import base64
import itertools
import json
import zlib
from typing import Any

from lovely.remotetask.storage import numbering


# What a text unpacks to at most, in bytes: more than all strands need.
MOST = 1 << 20


def write(source: str, position: Any) -> str:
    """Return the text for a position in a source of jobs.

    position -- a plain value, as JSON has them; or a dict of sequences by the
        keys of strands.
    """
    told = [source, *_columns(position)] if isinstance(
        position, dict) else [source, position]
    packed = zlib.compress(json.dumps(told, separators=(',', ':')).encode(), 9)
    return base64.urlsafe_b64encode(packed).rstrip(b'=').decode()


def _columns(position: dict[int, int]) -> list[list[int]]:
    """Return keys and sequences, each as the difference from the one before.

    These are small, and much the same: strands of one priority, which come
    one after the other, are about as long.
    """
    keys = sorted(position, key=_by_priority)
    return [_differences(keys), _differences([position[key] for key in keys])]


def _by_priority(key: int) -> tuple[int, int]:
    _, lane, priority = numbering.split_id(key)
    return priority, lane


def _differences(numbers: list[int]) -> list[int]:
    return [number - before
            for before, number in itertools.pairwise([0, *numbers])]


def read(text: str) -> tuple[Any, Any]:
    """Return the source and the position of a text; they may be anything.

    Raise ValueError, TypeError or RecursionError if it is none of ours.
    """
    source, *told = json.loads(_unpacked(text))
    if len(told) == 1:
        return source, told[0]
    if not all(type(each) is int for column in told for each in column):
        # To add up texts, say, would fill the memory.
        raise ValueError('There is something else than numbers.')
    keys, sequences = map(itertools.accumulate, told)
    return source, dict(zip(keys, sequences, strict=True))


def _unpacked(text: str) -> bytes:
    packed = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    unpacker = zlib.decompressobj()
    try:
        told = unpacker.decompress(packed, MOST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError('It ends too soon, or is far too long.')
    return told
