"""What belongs to the application, and is never trusted.

Values that are stored for it, exceptions that it raises, records whose
classes are its own.  Whatever is asked of them may fail in any way; all else
gets plain answers from here.
"""
