"""A small application to see asynchronous functions at work.

`computation` is what one writes for an application of one's own,
`browser` its pages, `site.zcml` its configuration.  `application` and `run`
serve it, `check` is its user in ``async-demo --check``.
"""
