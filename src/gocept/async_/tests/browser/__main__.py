"""See the package."""

import argparse
import unittest

from gocept.async_.tests.browser import pictures


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
    options, others = parser.parse_known_args()
    if options.pictures:
        pictures.take(options.pictures, options.scene,
                      None if options.all else pictures.SHOWN)
    else:
        unittest.main('gocept.async_.tests.browser.cases',
                      argv=['browser', *others])


if __name__ == '__main__':
    main()
