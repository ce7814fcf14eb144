"""Moving a service, with all of its jobs, to another database.

The records are copied as they are, also those that cannot be read any more;
only what they refer to is written anew.  No code of the application is run.
"""
