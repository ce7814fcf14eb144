"""Time zones by their names."""

import contextlib
import datetime
import enum
import os
import pathlib
import tempfile
import unittest
import unittest.mock
import zoneinfo

from lovely.remotetask import zone
from lovely.remotetask.interfaces import NoTimeZone


@contextlib.contextmanager
def zone_data(*path):
    """Let this process find time zone data in these folders alone."""
    before = zoneinfo.TZPATH
    # No package tzdata either.
    with unittest.mock.patch.dict('sys.modules', {'tzdata': None}):
        zoneinfo.reset_tzpath(path)
        zoneinfo.ZoneInfo.clear_cache()
        try:
            yield
        finally:
            zoneinfo.reset_tzpath(before)
            zoneinfo.ZoneInfo.clear_cache()


def copy_zone(name, folder):
    """Copy the data of a time zone into a folder; return its path there."""
    source, = [path for path in zoneinfo.TZPATH
               if os.path.exists(os.path.join(path, name))][:1]
    path = pathlib.Path(folder, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pathlib.Path(source, name).read_bytes())
    return path


class Place(enum.StrEnum):
    BERLIN = 'Europe/Berlin'


class NameTest(unittest.TestCase):

    def test_names(self):
        """Those of the IANA database, as plain texts; None is UTC."""
        for name in ('Europe/Berlin', 'UTC', 'Etc/GMT+5', Place.BERLIN):
            found = zone.check_name(name)
            self.assertEqual(name, found)
            self.assertIs(str, type(found))
            self.assertEqual(str(name), str(zone.find(name)))
        self.assertIsNone(zone.check_name(None))
        self.assertIs(datetime.UTC, zone.find(None))

    def test_names_that_do_not_exist(self):
        """Whatever it is: the message has it, and what to write."""
        for name in ('Mars/X', '', ' ', '../etc/passwd', '/etc/localtime',
                     'Europe', 'Europe/', 'a\0b', 'zone.tab', 'localtime',
                     'right/Europe/Berlin', 'posix/Europe/Berlin', '\ud800',
                     'x' * 100_000, 'Europe/Berlin/x', '.', 'tzdata.zi'):
            with self.subTest(name[:40]), self.assertRaisesRegex(
                    NoTimeZone, r'(?s)no time zone .*"Europe/Berlin"'):
                zone.check_name(name)

    def test_nearly_right(self):
        """The message has the name that was probably meant."""
        for name, meant in (('europe/berlin', 'Europe/Berlin'),
                            ('Berlin', 'Europe/Berlin'),
                            ('Europe/Berln', 'Europe/Berlin'),
                            ('utc', 'UTC'),
                            ('America/New York', 'America/New_York')):
            with self.subTest(name), self.assertRaisesRegex(
                    NoTimeZone, f'did you mean "{meant}"'):
                zone.check_name(name)

    def test_objects(self):
        """A time zone itself cannot be stored; its name is asked for."""
        for value, advice in (
                (datetime.UTC, "'UTC'"),
                (zoneinfo.ZoneInfo('Asia/Tokyo'), "'Asia/Tokyo'"),
                (datetime.timezone(datetime.timedelta(hours=1)),
                 'Europe/Berlin'),
                (b'UTC', 'Europe/Berlin'), (1, 'Europe/Berlin'),
                (['UTC'], 'Europe/Berlin'), (False, 'Europe/Berlin')):
            for call in (zone.check_name, zone.find):
                with self.subTest(value), self.assertRaisesRegex(
                        ValueError, f'timezone is .*{advice}'):
                    call(value)

    def test_stored_names_that_are_wrong(self):
        """What was stored by somebody else raises nothing but NoTimeZone."""
        for name in ('Mars/X', '', '../etc/passwd', 'Europe', 'a\0b',
                     '\ud800', 'x' * 100_000, 'Europe/Berlin/x'):
            with self.subTest(name[:40]), self.assertRaises(NoTimeZone):
                zone.find(name)


class DataTest(unittest.TestCase):

    def test_no_data_at_all(self):
        """The message does not doubt the name, but asks for tzdata."""
        with zone_data():
            for call in (zone.check_name, zone.find):
                with self.assertRaises(NoTimeZone) as raised:
                    call('Europe/Berlin')
                message = str(raised.exception)
                self.assertIn('no time zone data', message)
                self.assertIn('pip install tzdata', message)
                self.assertNotIn('There is no', message)
        zone.find('Europe/Berlin')

    def test_utc_needs_no_data(self):
        """It is known to everybody."""
        with zone_data():
            self.assertEqual('UTC', zone.check_name('UTC'))
            self.assertIs(datetime.UTC, zone.find('UTC'))

    def test_old_data(self):
        """A zone that this process does not have may exist elsewhere."""
        with tempfile.TemporaryDirectory() as folder:
            copy_zone('Europe/Berlin', folder)
            with zone_data(folder):
                zone.check_name('Europe/Berlin')
                with self.assertRaisesRegex(
                        NoTimeZone, 'in the data of this process.*'
                        'bring tzdata up to date'):
                    zone.find('America/Coyhaique')

    def test_data_that_come_later(self):
        """Once they are installed, the process knows the names, too."""
        with tempfile.TemporaryDirectory() as folder:
            brought, place = (os.path.join(folder, name) for name in 'ab')
            os.mkdir(brought)
            copy_zone('Europe/Berlin', brought)
            with zone_data(place):
                with self.assertRaisesRegex(NoTimeZone, 'no time zone data'):
                    zone.check_name('Europe/Berlin')
                self.assertFalse(zone.is_in_no_data('Europe/Nowhere'))
                os.rename(brought, place)
                self.assertEqual(
                    'Europe/Berlin', zone.check_name('Europe/Berlin'))
                self.assertFalse(zone.is_in_no_data('Europe/Berlin'))
                self.assertTrue(zone.is_in_no_data('Europe/Nowhere'))

    def test_damaged_data(self):
        """What cannot be read is no wrong name."""
        with tempfile.TemporaryDirectory() as folder:
            path = copy_zone('Europe/Berlin', folder)
            for content in (path.read_bytes()[:60], path.read_bytes()[:20]):
                path.write_bytes(content)
                with zone_data(folder), self.assertRaisesRegex(
                        NoTimeZone, 'cannot be read'):
                    zone.find('Europe/Berlin')
