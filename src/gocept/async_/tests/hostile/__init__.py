"""Jobs that misbehave, and a run that proves that only they come to harm.

``python -m gocept.async_.tests.hostile --help`` tells how to run it; it is
part of ``python3 bootstrap.py faults``.
"""
