"""Bringing what Python 2 has stored up to date: slices, and a command."""
