"""A service, a clock, and a model of both in plain Python.

Hypothesis drives them through any sequence of what can happen, in
transactions that overlap; after each commit the service must be what the
model is, and every job must be where somebody will find it.
"""

import hypothesis
from hypothesis.stateful import RuleBasedStateMachine

from lovely.remotetask.tests.modelcallers import Callers
from lovely.remotetask.tests.modelchecks import Checks
from lovely.remotetask.tests.modelprocessors import Processors
from lovely.remotetask.tests.modelsteps import Steps


class ServiceMachine(Steps, Processors, Callers, Checks,
                     RuleBasedStateMachine):
    """All of that, in any order."""


def settings(examples, steps, **others):
    return hypothesis.settings(
        max_examples=examples, stateful_step_count=steps, deadline=None,
        database=None, suppress_health_check=list(hypothesis.HealthCheck),
        # To make an example smaller would take minutes.
        phases=[hypothesis.Phase.generate], **others)


# The other one is for `faulty`.
ServiceMachine.TestCase.settings = settings(60, 40, derandomize=True)
LONG = settings(1000, 50)


class ModelTest(ServiceMachine.TestCase):
    """The service does what the model does."""
