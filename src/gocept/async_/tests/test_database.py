"""Tests of gocept.async_.database: a database for the jobs."""

from gocept.async_.tests import test_argument
from gocept.async_.tests import test_celeryprocessor
from gocept.async_.tests import test_decorator
from gocept.async_.tests import test_policy
from gocept.async_.tests import test_renamed
from gocept.async_.tests import test_task
from gocept.async_.tests import test_testing
from gocept.async_.tests.databases import TwoDatabases
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.tests import databases
from lovely.remotetask.tests.fixture import DatabaseCase


# Whatever is tested of asynchronous functions holds with two databases.
MODULES = {
    FunctionalTestCase: (
        TwoDatabases, (test_argument, test_decorator, test_policy,
                       test_renamed, test_task, test_testing)),
    DatabaseCase: (databases.TwoDatabases, (test_celeryprocessor,))}

# But for these: their records refer to content without naming its database.
OF_ONE_DATABASE = ['TaskOldRecordTest']


def _again(module, base, addition):
    """Make the test cases of a module anew, with two databases."""
    for name, case in vars(module).items():
        if (isinstance(case, type) and issubclass(case, base)
                and case.__module__ == module.__name__):
            again = f'{module.__name__.rpartition("_")[2].title()}{name}'
            if again not in OF_ONE_DATABASE:
                globals()[again] = type(again, (addition, case), {
                    '__module__': __name__, '__doc__': case.__doc__})


for _base, (_addition, _modules) in MODULES.items():
    for _module in _modules:
        _again(_module, _base, _addition)
