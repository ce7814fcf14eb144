"""Cannot be imported today."""

raise ZeroDivisionError('import')
