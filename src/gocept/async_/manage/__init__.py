"""The command ``async-jobs``, for people who look after jobs.

See docs/howto/lookafter.rst.
"""
