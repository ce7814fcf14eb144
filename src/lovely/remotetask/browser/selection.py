"""Which jobs are asked for: the filter in the query of an address."""

from typing import Any
from typing import NamedTuple
from typing import Self
from urllib.parse import urlencode

from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


# The arguments of ITaskService.find, by the names in the query.
ARGUMENTS = {'status': 'status', 'function': 'function',
             'principal': 'principal', 'error_class': 'errorClass',
             'since': 'since', 'until': 'until', 'task': 'task'}

TIMES = ('since', 'until')


class Selection(NamedTuple):
    """A filter; None is any.  Texts, as they were given in the query.

    See ITaskService.find for what they mean; times are ISO 8601.
    """

    status: str | None = None
    function: str | None = None
    principal: str | None = None
    error_class: str | None = None
    since: str | None = None
    until: str | None = None
    task: str | None = None

    @classmethod
    def of(cls, form: Any) -> Self:
        """Return the one that a form asks for.  Raise Problem."""
        for name in TIMES:
            parameters.time(form, name)
        return cls(*(parameters.text(form, name) for name in cls._fields))

    @classmethod
    def asked(cls, form: Any, by_program: bool) -> Self:
        """Return the one of the jobs that are to be changed.  Raise Problem.

        What is empty in a form was not filled in.  The variable of a program
        may have been empty, and that must not mean all jobs.
        """
        for name in cls._fields if by_program else ():
            if name in form and parameters.text(form, name) is None:
                raise Problem(400, _(
                    '"${name}" is empty; leave it out if all jobs are meant.'),
                    name=name)
        return cls.of(form)

    def given(self) -> dict[str, str]:
        """Return what is asked for, by the names in the query."""
        return {name: value for name, value in self._asdict().items()
                if value is not None}

    def arguments(self) -> dict[str, Any]:
        """Return what is asked for, as arguments of ITaskService.find."""
        return {ARGUMENTS[name]: parameters.time({name: value}, name)
                if name in TIMES else value
                for name, value in self.given().items()}

    def is_by_status(self) -> bool:
        """Return whether nothing but a status is asked for, or nothing."""
        return self == Selection(self.status)

    def query(self, **others: Any) -> str:
        """Return the query (str) of an address that asks for it.

        others -- further parameters, or others in their place; None leaves
            one out.
        """
        asked = {**self.given(), **others}
        found = urlencode(
            {name: value for name, value in asked.items()
             if value is not None}, errors='surrogatepass')
        return f'?{found}' if found else ''
