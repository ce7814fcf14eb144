"""Tests.  The helpers for the tests of applications are found here too."""

from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process


__all__ = ['login', 'logout', 'process']
