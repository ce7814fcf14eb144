"""Run single kinds of misbehaviour, or many of them among good jobs."""

import argparse
import signal
import sys
import time

from gocept.async_.tests.hostile.each import run_kind
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.kinds import PLACES
from gocept.async_.tests.hostile.scenarios import SCENARIOS
from lovely.remotetask.tests import faulty


# The short form: all scenarios take four minutes.
SHORT = (('good', 150), ('kinds', 60), ('seconds', 20.0), ('outage', 14.0))

NAMES = [scenario.__name__ for scenario in SCENARIOS]


def parse():
    parser = argparse.ArgumentParser(
        prog='python -m gocept.async_.tests.hostile', description=__doc__)
    parser.add_argument(
        'scenarios', nargs='*', metavar='SCENARIO',
        help=f'default: all; {", ".join(NAMES)}')
    parser.add_argument('--seed', type=int, help='of a run before')
    parser.add_argument('--good', type=int, default=2000,
                        help='how many good jobs (2000)')
    parser.add_argument('--kinds', type=int, default=120,
                        help='how many kinds of bad jobs (120)')
    parser.add_argument('--seconds', type=float, default=120.0,
                        help='for how long jobs are added and things fail')
    parser.add_argument('--outage', type=float, default=25.0,
                        help='seconds that a server is away at most')
    parser.add_argument('--without', action='append', default=[],
                        choices=sorted(KINDS), metavar='NAME',
                        help='leave this kind out')
    parser.add_argument('--logs', metavar='FOLDER',
                        help='copy the logs to a folder at the end')
    parser.add_argument(
        '--quick', action='store_true',
        help=f'the short form: {" ".join(f"--{n} {v}" for n, v in SHORT)}')
    alone = parser.add_argument_group('or single kinds')
    alone.add_argument('--kind', action='append', choices=sorted(KINDS),
                       metavar='NAME', help='run this kind alone')
    alone.add_argument('--family', choices=sorted(
        {kind.family for kind in KINDS.values()}), help='run these kinds')
    alone.add_argument('--where', choices=PLACES, default=PLACES[0])
    alone.add_argument('--service', default='events',
                       choices=['events', 'grouped'])
    alone.add_argument('--log', action='store_true',
                       help='print the log of the application, too')
    alone.add_argument('--list', action='store_true',
                       help='print the kinds there are')
    return parser.parse_args()


def print_kinds():
    for kind in KINDS.values():
        print(f'{kind.family:14}{kind.name:36}{"/".join(kind.ends)}')
    print(f'{len(KINDS)} kinds')


def run_alone(names, options):
    """Run kinds alone.  Return how many failed."""
    failed = 0
    for name in names:
        if options.where not in KINDS[name].places or not KINDS[name].most:
            continue
        begin = time.monotonic()
        violations, log = run_kind(name, options.where, options.service)
        failed += bool(violations)
        print(f'{name}: {"FAILED" if violations else "ok"}, '
              f'{time.monotonic() - begin:.1f} s', flush=True)
        for violation in violations[:12]:
            print('   ', violation, flush=True)
        if options.log:
            print(log)
    return failed


def run_scenarios(options):
    """Run the chosen scenarios.  Return how many failed."""
    settings = {name: getattr(options, name)
                for name in ('seed', 'good', 'kinds', 'seconds', 'outage',
                             'without', 'logs')}

    if options.quick:
        settings.update(SHORT)

    def with_settings(scenario):
        def run(say):
            scenario(say, **dict(settings))
        run.__name__ = scenario.__name__
        run.__doc__ = scenario.__doc__
        return run
    return faulty.main(options.scenarios,
                       [with_settings(scenario) for scenario in SCENARIOS])


def main():
    options = parse()
    # So that all that was started, and mounted, is taken down.
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(1))
    if options.list:
        print_kinds()
        return 0
    names = options.kind or [kind.name for kind in KINDS.values()
                             if kind.family == options.family]
    if names:
        return run_alone(names, options)
    return run_scenarios(options)


if __name__ == '__main__':
    sys.exit(main())
