"""Run single kinds of misbehaviour, or all of them together."""

import argparse
import time

from gocept.async_.tests.hostile.each import run_kind
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.kinds import PLACES


def parse():
    parser = argparse.ArgumentParser(
        prog='python -m gocept.async_.tests.hostile', description=__doc__)
    parser.add_argument('--kind', action='append', choices=sorted(KINDS),
                        metavar='NAME', help='run this kind alone')
    parser.add_argument('--family', choices=sorted(
        {kind.family for kind in KINDS.values()}), help='run these kinds')
    parser.add_argument('--where', choices=PLACES, default=PLACES[0])
    parser.add_argument('--service', default='events',
                        choices=['events', 'grouped'])
    parser.add_argument('--list', action='store_true',
                        help='print the kinds there are')
    parser.add_argument('--log', action='store_true',
                        help='print the log of the application, too')
    return parser.parse_args()


def main():
    options = parse()
    if options.list:
        for kind in KINDS.values():
            print(f'{kind.family:14}{kind.name:36}{"/".join(kind.ends)}')
        print(f'{len(KINDS)} kinds')
        return
    for name in options.kind or [
            kind.name for kind in KINDS.values()
            if kind.family == options.family]:
        if options.where not in KINDS[name].places or not KINDS[name].most:
            continue
        begin = time.monotonic()
        violations, log = run_kind(name, options.where, options.service)
        print(f'{name}: {"FAILED" if violations else "ok"}, '
              f'{time.monotonic() - begin:.1f} s', flush=True)
        for violation in violations[:12]:
            print('   ', violation, flush=True)
        if options.log:
            print(log)


if __name__ == '__main__':
    main()
