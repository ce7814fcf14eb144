"""Cannot be imported today."""

import hostile_no_such_module  # noqa: F401
