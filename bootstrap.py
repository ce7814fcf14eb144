"""Set up gocept.async in this checkout, then run one of its commands.

    python3 bootstrap.py               set up, leave the scripts in bin/
    python3 bootstrap.py test [args]   set up, then run bin/test
    python3 bootstrap.py demo [args]   set up, then run bin/async-demo
    python3 bootstrap.py faults        set up, then kill processes for minutes

Needs Python with its venv module, nothing else.  A second run finds the work
done and only checks a stamp.  This file has to parse on every Python ever
met: one that is too old shall get a sentence, not a SyntaxError.
"""
from __future__ import print_function

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time


# The oldest Python that it runs on, and those on which all tests were run.
# What is newer is tried: a sentence says so.
OLDEST = (3, 11)
TESTED = ((3, 11), (3, 12), (3, 13))

# command line word -> script in bin/ that gets the remaining arguments
COMMANDS = {
    'demo': 'async-demo',
    'faults': 'faults',
    'test': 'test',
}

HERE = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(HERE, '.venv')
BIN = os.path.join(HERE, 'bin')
PYTHON = os.path.join(VENV, 'bin', 'python')
STAMP = os.path.join(VENV, 'bootstrap.stamp')
CONSTRAINTS = os.path.join(VENV, 'constraints.txt')
LOG = os.path.join(HERE, 'var', 'bootstrap.log')

INPUTS = ('bootstrap.py', 'buildout.cfg', 'pyproject.toml', 'setup.py',
          'versions.cfg')
SCRIPTS = ('async-demo', 'async-jobs', 'async-upgrade', 'async-worker',
           'buildout', 'faults', 'pytest', 'python', 'test')
# pip's own first: with --no-build-isolation the others are built with them.
INSTALLERS = ('pip', 'setuptools', 'wheel')
PACKAGES = ('zc.buildout', 'zc.recipe.egg', 'zc.recipe.testrunner',
            '-e', '.[demo,test,lint,docs]')

NETWORK_TROUBLE = re.compile(
    'Failed to establish a new connection|Failed to resolve|'
    'Name or service not known|Temporary failure in name resolution|'
    'Network is unreachable|Connection refused|Connection reset|'
    'Connection aborted|No route to host|timed out|TimeoutError|'
    'ProxyError|Max retries exceeded|SSLError', re.I)
NOT_FOUND = re.compile(
    'No matching distribution found for (.+)|'
    'Cannot install (.+) because these package versions have conflicting')
PIP_ERROR = re.compile('^ERROR: (.+)', re.M)


class SetupError(Exception):
    """Set-up is impossible; the message says what to do."""


def wrong_python(version, implementation='cpython'):
    """Return a sentence if gocept.async does not run on it, else None."""
    if tuple(version[:2]) >= OLDEST and implementation == 'cpython':
        return None
    return (
        'This is {} {}, but gocept.async runs on CPython {}.{} and later; '
        'start bootstrap.py with one of these, for example: '
        'python{}.{} bootstrap.py'.format(
            implementation.replace('cpython', 'Python'), dotted(version),
            *(OLDEST + TESTED[-1])))


def untested_python(version):
    """Return a sentence if nobody has run the tests on it, else None."""
    if tuple(version[:2]) in TESTED:
        return None
    return (
        'this is Python {}, on which gocept.async was not tested; where '
        'something fails, start bootstrap.py with Python {}.'.format(
            dotted(version),
            ' or '.join('{}.{}'.format(*pair) for pair in TESTED)))


def dotted(version):
    return '.'.join(str(part) for part in version[:3])


# What is pinned, and whether all is done already

def read_pins(text):
    """Return {name: version} of the section [versions]."""
    import configparser  # has another name on Python 2
    parser = configparser.ConfigParser(delimiters='=', interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return dict(parser['versions'])


def constraints(pins):
    """Return the text of a pip constraints file."""
    return ''.join(
        '{}=={}\n'.format(*pin) for pin in sorted(pins.items()))


def read(*path):
    with open(os.path.join(*path), 'rb') as source:
        return source.read()


def write(path, text):
    with open(path, 'w') as target:
        target.write(text)


def place():
    """Return what a .venv cannot be moved between: folder and Python."""
    return '|'.join([HERE, sys.base_prefix, sys.version])


def fingerprint(folder):
    """Return a hash of all the files that decide what gets installed."""
    digest = hashlib.sha256()
    for name in INPUTS:
        content = read(folder, name)
        digest.update('{} {}\n'.format(name, len(content)).encode('ascii'))
        digest.update(content)
    return digest.hexdigest()


def stamp_text(where, what):
    """Return the stamp's two lines: a hash of the place, and of the inputs."""
    digest = hashlib.sha256(where.encode('utf-8')).hexdigest()
    return '{}\n{}\n'.format(digest, what)


def read_stamp():
    """Return both lines of the last completed set-up's stamp."""
    try:
        lines = read(STAMP).decode('ascii').split('\n')
    except (OSError, UnicodeDecodeError):
        return ('', '')
    return tuple((lines + ['', ''])[:2])


def is_ready(stamp):
    scripts = [os.path.join(BIN, name) for name in SCRIPTS]
    return (read_stamp() == tuple(stamp.split())
            and all(runnable(path) for path in [PYTHON] + scripts))


def runnable(path):
    return os.access(path, os.X_OK)


# Running other programs

def say(text):
    print('bootstrap: ' + text, file=sys.stderr)
    sys.stderr.flush()


def explain(doing, log):
    """Return one sentence on why pip or buildout failed with this output."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    missing = NOT_FOUND.search(log)
    if NETWORK_TROUBLE.search(log):
        reason = ('the package index cannot be reached; check the network '
                  'and pip\'s settings (proxy, index), then run it again')
    elif missing:
        reason = ('pip found no fitting {}; check versions.cfg and pip\'s '
                  'settings (index)'.format(missing.group(missing.lastindex)))
    else:
        reason = (PIP_ERROR.findall(log) + lines[-1:] + ['no output'])[0]
    return '{} failed: {} (everything it said: {}).'.format(
        doing, reason, os.path.relpath(LOG))


def environment():
    """Return os.environ without what makes pip install somewhere else."""
    unwanted = ('PYTHONHOME', 'PYTHONPATH', 'PIP_PREFIX', 'PIP_ROOT',
                'PIP_TARGET')
    env = {key: value for key, value in os.environ.items()
           if key not in unwanted}
    return dict(env, PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1',
                PIP_USER='0', PIP_REQUIRE_VIRTUALENV='0')


def lock(log):
    """Wait until no other set-up writes to this log, and so to .venv.

    The programs inherit the open log and with it the lock: also one that
    outlives a killed bootstrap.py is waited for.
    """
    import fcntl  # not on Windows, where main() has stopped already
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say('another set-up is at work here, waiting for it ...')
        fcntl.flock(log, fcntl.LOCK_EX)


def run(log, doing, *command):
    """Run it with its output in the log; raise SetupError if it fails."""
    log.write('$ {}\n'.format(' '.join(command)).encode('utf-8'))
    log.flush()
    start = log.tell()
    code = subprocess.call(
        command, cwd=HERE, env=environment(), stdin=subprocess.DEVNULL,
        stdout=log, stderr=subprocess.STDOUT)
    log.seek(start)
    output = log.read().decode('utf-8', 'replace')
    if code:
        raise SetupError(explain(doing, output))


def base_python():
    """Return the Python outside of any virtual environment.

    This one may be .venv's own, which is about to be deleted.
    """
    return getattr(sys, '_base_executable', None) or sys.executable


def base_python_can(statement):
    code = subprocess.call(
        [base_python(), '-c', statement], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return code == 0


# The steps

def make_venv():
    try:
        import venv
    except ImportError:
        raise SetupError(
            '{} has no venv module; install it (Debian, Ubuntu: apt-get '
            'install python3-venv), then run it again.'.format(
                base_python()))
    if os.path.lexists(VENV):
        shutil.rmtree(VENV)
    venv.EnvBuilder(symlinks=True, with_pip=False).create(VENV)


def first_pip(log):
    """Return the command line of a pip that installs into .venv.

    The host's pip first: it is quicker, and Debian has ensurepip in a
    package of its own.
    """
    if base_python_can(
            'import pip; v = pip.__version__.split("."); '
            'raise SystemExit((int(v[0]), int(v[1])) < (22, 3))'):
        return [base_python(), '-m', 'pip', '--python', PYTHON]
    if base_python_can('import ensurepip'):
        run(log, 'Installing pip', PYTHON, '-m', 'ensurepip')
        return [PYTHON, '-m', 'pip']
    raise SetupError(
        '{} has neither pip nor ensurepip; install one of them (Debian, '
        'Ubuntu: apt-get install python3-venv), then run it again.'.format(
            base_python()))


def install(log, pip, *packages):
    options = ['--no-build-isolation', '--retries', '2', '-c', CONSTRAINTS]
    run(log, 'Installing packages',
        *(pip + ['install'] + options + list(packages)))


def write_scripts(log):
    """Let buildout fill bin/, all but bin/python.

    bin/python is no buildout interpreter, for these know few of Python's
    options, and no symbolic link, for Python would not find .venv then.
    """
    # -U: the user's own defaults may name other folders for eggs.
    run(log, 'Writing bin/', PYTHON, '-c',
        'from zc.buildout.buildout import main; main()', '-U')
    path = os.path.join(BIN, 'python')
    write(path, '#!/bin/sh\nexec {} "$@"\n'.format(shlex.quote(PYTHON)))
    os.chmod(path, 0o755)
    for name in SCRIPTS:
        path = os.path.join(BIN, name)
        write(path, through_sh(read(path).decode('utf-8'), PYTHON))


def through_sh(script, python):
    """Return the script so that it starts in a folder with a blank, too.

    The system takes no blank in a #! line, and no more than 127 characters.
    Python sees a string in the second and third line (pip's own trick).
    """
    start = '#!{}\n'.format(python)
    if not script.startswith(start) or (
            len(start) < 127 and not re.search(r'\s', python)):
        return script
    return "#!/bin/sh\n'''exec' {} \"$0\" \"$@\"\n' '''\n{}".format(
        shlex.quote(python).replace("'", '"'), script[len(start):])


def build(log, pins, fresh):
    if fresh:
        make_venv()
    write(CONSTRAINTS, constraints(pins))
    if fresh:
        install(log, first_pip(log), *INSTALLERS)
    install(log, [PYTHON, '-m', 'pip'], *(INSTALLERS + PACKAGES))
    write_scripts(log)


def build_timed(log, stamp):
    started = time.time()
    say('setting up in {}, about half a minute ...'.format(HERE))
    log.truncate(0)
    # No stamp means interrupted: who knows what that .venv is worth.
    fresh = read_stamp()[0] != stamp.split()[0] or not runnable(PYTHON)
    if os.path.exists(STAMP):
        os.remove(STAMP)
    build(log, read_pins(read(HERE, 'versions.cfg').decode('utf-8')), fresh)
    write(STAMP, stamp)
    say('ready after {:.0f} s, see bin/.'.format(time.time() - started))


def set_up():
    stamp = stamp_text(place(), fingerprint(HERE))
    if is_ready(stamp):
        return
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    with open(LOG, 'ab+') as log:
        lock(log)
        # Asked again, for somebody else may have done it meanwhile.
        if not is_ready(stamp):
            build_timed(log, stamp)


# The command line

def check_arguments(args):
    if args and args[0] not in COMMANDS:
        raise SetupError(
            'unknown command "{}"; choose one of {}, or none to set up '
            'only.'.format(args[0], ', '.join(sorted(COMMANDS))))


def run_command(name, args):
    script = os.path.join(BIN, COMMANDS[name])
    os.execv(script, [script] + args)


def check_system():
    if os.name != 'posix':
        raise SetupError(
            'set-up works on Linux, macOS and other POSIX systems, not on '
            '{}; use one of these.'.format(sys.platform))
    complaint = wrong_python(sys.version_info, getattr(
        getattr(sys, 'implementation', None), 'name', 'Python'))
    if complaint:
        raise SetupError(complaint)
    remark = untested_python(sys.version_info)
    if remark:
        say(remark)


def main(args):
    check_system()
    if args[:1] in (['-h'], ['--help']):
        print(__doc__)
        return
    check_arguments(args)
    set_up()
    if args:
        run_command(args[0], args[1:])


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except (SetupError, OSError) as error:
        sys.exit('bootstrap: {}'.format(error))
    except KeyboardInterrupt:
        sys.exit('bootstrap: interrupted; the next run starts afresh.')
