"""How Sphinx makes the pages: ``bin/python -m sphinx -n -W docs var/docs``."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))

project = 'gocept.async'
copyright = 'gocept.async contributors'
release = version = '1.0.dev0'

extensions = ['sphinx.ext.autodoc', 'generated']
# Whatever the annotations of signatures name has no page here.
nitpick_ignore_regex = [('py:.*', '.*')]
autodoc_member_order = 'bysource'

master_doc = 'index'
exclude_patterns = ['_build']

html_theme = 'furo'
html_title = 'gocept.async'
html_show_sourcelink = False
