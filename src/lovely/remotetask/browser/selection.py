"""Which jobs are asked for: the filter in the query of an address."""

from typing import NamedTuple
from urllib.parse import urlencode

from lovely.remotetask.browser import parameters


class Selection(NamedTuple):
    """A filter; None is any.  The names are those of the query.

    status, function -- see ITaskService.find.
    """

    status: str | None = None
    function: str | None = None

    @classmethod
    def of(cls, form):
        """Return the one that a form asks for.  Raise Problem."""
        return cls(*(parameters.text(form, name) for name in cls._fields))

    def given(self):
        """Return what is asked for, as a dict."""
        return {name: value for name, value in self._asdict().items()
                if value is not None}

    def query(self, **others):
        """Return the query (str) of an address that asks for it.

        others -- further parameters, or others in their place; None leaves
            one out.
        """
        asked = {**self.given(), **others}
        found = urlencode(
            {name: value for name, value in asked.items()
             if value is not None}, errors='surrogatepass')
        return f'?{found}' if found else ''
