"""The state that belongs to a process, and what a fork does to it.

A child that was forked has a copy of all that its parent had in memory:
locks that threads hold which are not there, processors without threads,
ids and leases that are the parent's.  Whoever keeps such state says here how
it begins; in a child it begins anew.
"""

import os


_states = []
_is_child = False


def of_process(begin):
    """Call something now, and again in each child: a decorator.

    begin -- sets the state of its module to that of a process which has just
        begun.  Called while no other thread runs; must not fail.
    """
    _states.append(begin)
    begin()
    return begin


def is_child():
    """Return whether this process was forked by one that had this module."""
    return _is_child


def _forked():
    global _is_child
    _is_child = True
    for begin in _states:
        begin()


os.register_at_fork(after_in_child=_forked)
