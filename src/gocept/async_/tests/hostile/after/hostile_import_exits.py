"""Cannot be imported today."""

import sys


sys.exit('import')
