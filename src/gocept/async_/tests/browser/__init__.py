"""The management pages in a real browser: tests and pictures.

``python -m gocept.async_.tests.browser`` runs the tests; with ``--pictures
FOLDER`` it makes pictures of the pages instead.
"""
