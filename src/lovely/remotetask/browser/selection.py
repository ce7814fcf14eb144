"""Which jobs are asked for: the filter in the query of an address."""

from typing import Any
from typing import NamedTuple
from typing import Self
from urllib.parse import parse_qsl
from urllib.parse import urlencode

from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


# The arguments of ITaskService.find, by the names in the query.
ARGUMENTS = {'status': 'status', 'function': 'function',
             'principal': 'principal', 'error_class': 'errorClass',
             'since': 'since', 'until': 'until', 'task': 'task'}

TIMES = ('since', 'until')

# The field of a form that has all of a filter, and how long it may be: each
# character of the texts may need twelve.
FOLDED = 'selection'
FOLDED_SIZE = 12 * len(ARGUMENTS) * parameters.SIZE

# How those characters are encoded that are in no encoding.
_ANY = 'surrogatepass'


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
        form = _unfolded(form)
        for name in TIMES:
            parameters.time(form, name)
        return cls(*(parameters.text(form, name) for name in cls._fields))

    @classmethod
    def asked(cls, form: Any, by_program: bool) -> Self:
        """Return the one of the jobs that are to be changed.  Raise Problem.

        What is empty in a form was not filled in.  The variable of a program
        may have been empty, and that must not mean all jobs.
        """
        form = _unfolded(form)
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
        found = _encoded({**self.given(), **others})
        return f'?{found}' if found else ''

    def folded(self) -> str:
        """Return all of it as the value of one field of a form.

        A document shows some characters by their numbers; what was asked for
        must come back as it was.
        """
        return _encoded(self.given())


def _encoded(asked: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in asked.items()
                      if value is not None}, errors=_ANY)


def _unfolded(form: Any) -> Any:
    """Return a form with what was folded into one field.  Raise Problem."""
    folded = parameters.text(form, FOLDED, FOLDED_SIZE)
    if folded is None:
        return form
    try:
        given = dict(parse_qsl(
            folded, keep_blank_values=True, strict_parsing=True,
            errors=_ANY))
    except ValueError as error:
        raise Problem(400, _('"${name}" is no query of an address.'),
                      name=FOLDED) from error
    for name in given:
        # What is not understood, or said twice, may be meant to narrow.
        if name not in Selection._fields or name in form:
            raise Problem(400, _('"${name}" means nothing here; known: '
                                 '${known}.'), name=name[:100],
                          known=', '.join(Selection._fields))
    return {**given, **{
        name: form[name] for name in form if name != FOLDED}}
