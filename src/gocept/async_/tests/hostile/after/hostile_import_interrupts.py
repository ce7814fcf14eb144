"""Cannot be imported today."""

raise KeyboardInterrupt
