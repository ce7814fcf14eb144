"""How Sphinx makes the pages: ``bin/python -m sphinx -n -W docs var/docs``."""

project = 'gocept.async'
copyright = 'gocept.async contributors'
release = version = '1.0.dev0'

master_doc = 'index'
exclude_patterns = ['_build']

html_theme = 'furo'
html_title = 'gocept.async'
html_show_sourcelink = False
