"""What the id of a job tells: its place in a strand of a lane, and its shelf.

An id is an int, ``sequence * 16384 + lane * 16 + priority``.  What is left of
it without the sequence is the key of the strand.  Ids are stored, so none of
these numbers may change.
"""

# A strand has 2 ** 49 entries in sight of a lookup by number; more bits here
# would leave it fewer, or make ids longer than 63 bits.
_PRIORITY_BITS = 4
_LANE_BITS = 10

# More could not be told apart by the ids of their jobs.
MAX_LANES = 1 << _LANE_BITS

# How many lanes are leased at a time.
LANES_AT_ONCE = 2

# Whoever keeps the books of other lanes writes other objects: there are so
# many shelves of them.  More workers than these meet; and each page of jobs
# is merged from all.
SHELVES = 8


def make_id(sequence, lane, priority):
    """Return the id of the job at that place."""
    return (((sequence << _LANE_BITS) | lane) << _PRIORITY_BITS) | priority


def split_id(jobid):
    """Return sequence, lane and priority."""
    priority = jobid & ((1 << _PRIORITY_BITS) - 1)
    lane = (jobid >> _PRIORITY_BITS) & (MAX_LANES - 1)
    return jobid >> (_PRIORITY_BITS + _LANE_BITS), lane, priority


def place(sequence, key):
    """Return the id of an entry of the strand of a key."""
    return sequence << (_PRIORITY_BITS + _LANE_BITS) | key


def strand_key(place):
    """Return the key of the strand that an entry is in, from its id."""
    return place & ((1 << (_PRIORITY_BITS + _LANE_BITS)) - 1)


def shelf_number(place):
    """Return the number of the shelf for an id: that of its lane.

    Lanes that are leased together have one.
    """
    _, number, _ = split_id(place)
    return number // LANES_AT_ONCE % SHELVES
