"""The persistent objects of a service, and what is done with them.

No threads, no publication, no clock but `moment`: everything happens in the
caller's transaction.  docs/reference/writers.rst tells who writes what.
"""
