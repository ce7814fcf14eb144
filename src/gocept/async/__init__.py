"""Another name of `gocept.async_`, for ZCML and pickles written earlier.

``async`` became a keyword of Python, so no import statement can name this
package any more.  ZCML, dotted names and pickles still can; they get the
modules of `gocept.async_`, the very same objects.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys


ALIAS = __name__
REAL = 'gocept.async_'


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``gocept.async.x`` by importing ``gocept.async_.x``."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(ALIAS + '.'):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec):
        module = importlib.import_module(REAL + spec.name[len(ALIAS):])
        # The import system is about to write the alias's spec over it.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # Executed already, under its real name.
        module.__spec__ = module.__spec__.loader_state


if not any(type(finder).__name__ == 'AliasFinder'
           for finder in sys.meta_path):
    sys.meta_path.insert(0, AliasFinder())
sys.modules[ALIAS] = importlib.import_module(REAL)
