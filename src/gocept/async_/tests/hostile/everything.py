"""All kinds of misbehaviour there are."""

from gocept.async_.tests.hostile import children  # noqa: F401
from gocept.async_.tests.hostile import deaths  # noqa: F401
from gocept.async_.tests.hostile import errors  # noqa: F401
from gocept.async_.tests.hostile import hooks  # noqa: F401
from gocept.async_.tests.hostile import records  # noqa: F401
from gocept.async_.tests.hostile import results  # noqa: F401
from gocept.async_.tests.hostile import services  # noqa: F401
from gocept.async_.tests.hostile import states  # noqa: F401
from gocept.async_.tests.hostile import strangers  # noqa: F401
from gocept.async_.tests.hostile import transactions  # noqa: F401
from gocept.async_.tests.hostile.kinds import KINDS  # noqa: F401
