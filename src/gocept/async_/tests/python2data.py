"""Databases that Python 2.7 and the packages of 2010 have written.

See python2/README.rst.
"""

import json
import lzma
import sys
from pathlib import Path


FOLDER = Path(__file__).with_name('python2')

CONFIGURATION = '''\
site-definition {folder}/{site}
<zodb>
  <filestorage>
    path {data}
  </filestorage>
</zodb>
<eventlog>
  <logfile>
    path {data}.log
    level INFO
  </logfile>
</eventlog>
'''


def unpack(name, folder):
    """Write a database into a folder.  Return the path of its Data.fs.

    name -- str, like "core-py3".
    """
    path = Path(folder) / 'Data.fs'
    path.write_bytes(lzma.decompress(
        (FOLDER / f'{name}.fs.xz').read_bytes()))
    return path


def expected():
    """Return what Python 2 says of the services of "core"."""
    return json.loads(lzma.decompress(
        (FOLDER / 'expected.json.xz').read_bytes()))


def configure(data, site='site.zcml'):
    """Write a zope.conf for a Data.fs; return its path (str)."""
    path = data.with_suffix('.conf')
    path.write_text(CONFIGURATION.format(
        folder=FOLDER, site=site, data=data))
    return str(path)


def make_importable():
    """Let the ported applications, py2shop and shop34, be found."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))


def forget():
    """Let them be unknown again, as they are to other tests."""
    sys.path.remove(str(FOLDER))
    for name in list(sys.modules):
        if name.partition('.')[0] in ('py2shop', 'shop34'):
            del sys.modules[name]
