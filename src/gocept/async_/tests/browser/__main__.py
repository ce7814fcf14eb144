"""See the package."""

import argparse
import unittest

from gocept.async_.tests.browser import load
from gocept.async_.tests.browser import pictures
from gocept.async_.tests.browser.stage import Stage


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog='browser', description='Test the pages in a browser.')
    parser.add_argument('--pictures', metavar='FOLDER',
                        help='make pictures of the pages in a folder')
    parser.add_argument('--scene', choices=('few', 'many'),
                        help='what the pictures show (default: nothing)')
    parser.add_argument('--all', action='store_true',
                        help='all pictures, not only those in the documents')
    parser.add_argument('--screens', action='store_true',
                        help='test them among the screens of zope.app, where '
                             'zope.app.zcmlfiles is installed')
    parser.add_argument('--load', type=int, metavar='NUMBER', nargs='+',
                        help='measure the pages with so many jobs')
    options, others = parser.parse_known_args()
    if options.load:
        stage = Stage.shared()
        try:
            load.measure(stage, sorted(options.load))
        finally:
            Stage.end_shared()
    elif options.pictures and options.screens:
        pictures.take_among_screens(options.pictures)
    elif options.pictures:
        pictures.take(options.pictures, options.scene,
                      None if options.all else pictures.SHOWN)
    else:
        cases = 'screenscases' if options.screens else 'cases'
        unittest.main(f'gocept.async_.tests.browser.{cases}',
                      argv=['browser', *others])


if __name__ == '__main__':
    main()
