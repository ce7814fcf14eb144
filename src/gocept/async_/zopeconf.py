"""Read the zope.conf of an application, without opening its databases."""

from pathlib import Path

import ZConfig
import zope.app.appsetup


def read(path):
    """Return the options of a zope.conf; ValueError tells what is wrong."""
    schema = ZConfig.loadSchema(str(
        Path(zope.app.appsetup.__file__).parent / 'schema' / 'schema.xml'))
    try:
        options, _ = ZConfig.loadConfig(schema, path)
    except (ZConfig.ConfigurationError, OSError) as error:
        raise ValueError(
            f'{path} cannot be read; correct it: {error}') from error
    return options


def uses_file_storage(options):
    """Return whether only one process at a time can open the databases."""
    return any(type(database.config.storage).__name__ == 'FileStorage'
               for database in options.databases)
