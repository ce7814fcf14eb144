"""The command ``async-worker``: processes that run jobs, and their parent.

`command` is the parent, `process` each of its children.
"""
