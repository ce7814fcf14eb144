"""Tests of gocept.async_.fixtures, and of what it knows of jobs."""

import unittest

import transaction
import zope.component.hooks
from zope.app.wsgi.testlayer import BrowserLayer
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

import gocept.async_.tests
from gocept.async_ import fixtures
from gocept.async_.fixtures import AsyncServices
from gocept.async_.task import TaskDescription
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import entered
from gocept.async_.testing import login
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service


class ServicesTest(FunctionalTestCase):
    """What a test is told of its jobs."""

    def setUp(self):
        super().setUp()
        self.services = AsyncServices(self.root)

    def message(self, *args, **kwargs):
        with self.assertRaises(AssertionError) as raised:
            self.services.assert_enqueued(*args, **kwargs)
        return str(raised.exception)

    def test_assert_enqueued(self):
        """The job is returned, before and after the commit."""
        jobid = sample.add.enqueue_with(priority=9)(2, 7)
        self.assertEqual(
            9, self.services.assert_enqueued(sample.add, 2, 7).priority)
        transaction.commit()
        self.assertEqual(
            jobid, self.services.assert_enqueued(sample.add, 2, 7).id)

    def test_arguments_by_name(self):
        """It is the call that counts, not how it is written."""
        sample.add(2)
        for args, kwargs in (((2,), {}), ((2, 1), {}), ((), {'a': 2}),
                             ((2,), {'b': 1, 'times': 1})):
            self.services.assert_enqueued(sample.add, *args, **kwargs)

    def test_other_arguments(self):
        """It is told what there is instead."""
        sample.add(2, b=8)
        sample.record('x')
        message = self.message(sample.add, 2, 7)
        self.assertIn('sample.add(2, 7) was not enqueued', message)
        self.assertIn('sample.add(2, b=8)', message)
        self.assertIn("sample.record('x')", message)

    def test_nothing(self):
        """That is said, too."""
        self.assertIn('nothing was enqueued', self.message(sample.add, 2))

    def test_persistent_argument(self):
        """It is the same object; also of a job that was committed."""
        self.root['one'], self.root['two'] = sample.Content(), sample.Content()
        sample.change(self.root['one'], 'new')
        transaction.commit()
        self.services.assert_enqueued(sample.change, self.root['one'], 'new')
        self.message(sample.change, self.root['two'], 'new')

    def test_arguments_that_do_not_fit(self):
        """The test is wrong, and not the application."""
        with self.assertRaisesRegex(TypeError, 'argument'):
            self.services.assert_enqueued(sample.add)

    def test_function_that_is_not_decorated(self):
        """It could never be enqueued."""
        for each in (sample.undecorated, sample.add.undecorated, 7):
            with self.assertRaisesRegex(TypeError, 'no asynchronous'):
                self.services.assert_enqueued(each)

    def test_decorated_function_with_others_around(self):
        """It is found as its calls are."""
        sample.announced_when_called('x')
        self.services.assert_enqueued(sample.announced_when_called, 'x')

    def test_decorators_that_supply_an_argument(self):
        """What was stored counts, not what others make of it."""
        sample.supplied_when_run('x')
        self.services.assert_enqueued(sample.supplied_when_run, path='x')
        sample.supplied_when_called('x')
        self.services.assert_enqueued(
            sample.supplied_when_called, 'session', path='x')

    def test_task(self):
        """It has a name, and an input."""
        self.service.add('echo', {'width': 2})
        self.services.assert_enqueued('echo', {'width': 2})
        self.assertIn("echo(input={'width': 2})",
                      self.message('echo', {'width': 3}))

    def test_aborted(self):
        """It never was."""
        sample.add(2)
        transaction.abort()
        self.services.assert_not_enqueued()

    def test_before(self):
        """What was there before the test is none of it."""
        sample.add(2)
        services = AsyncServices(self.root)
        sample.add(3)
        job, = services.enqueued(sample.add)
        self.assertEqual((3,), job.input.args)

    def test_after_processing(self):
        """The jobs show how they have ended."""
        sample.add(2)
        sample.record()
        self.services.process()
        self.assertEqual(['completed'] * 2, [
            job.status for job in self.services.enqueued()])
        self.services.assert_enqueued(sample.add, 2)

    def test_order(self):
        """That of the calls, also over several services."""
        other = add_service(self.root, '', 'unnamed')
        for number in range(3):
            sample.record(number)
            sample.default_service()
        self.assertEqual(3, len(other.jobs))
        self.assertEqual(
            ['record', 'default_service'] * 3,
            [job.function.rpartition('.')[2]
             for job in self.services.enqueued()])

    def test_service_in_a_site(self):
        """Wherever it is."""
        self.root['shop'] = shop = Folder()
        shop.setSiteManager(LocalSiteManager(shop))
        add_service(shop, 'events', 'here')
        with zope.component.hooks.site(shop):
            sample.add(2)
        self.services.assert_enqueued(sample.add, 2)

    def test_assert_not_enqueued(self):
        """Of one function, or at all."""
        self.services.assert_not_enqueued()
        sample.add(2)
        self.services.assert_not_enqueued(sample.record)
        for args in ((), (sample.add,)):
            with self.assertRaisesRegex(AssertionError, r'sample\.add\(2\)'):
                self.services.assert_not_enqueued(*args)


class EnteredTest(FunctionalTestCase):
    """The surroundings of a test."""

    def test_around_a_test(self):
        """Nothing of it is left."""
        zope.component.hooks.setSite(None)
        with entered(self.root):
            self.assertEqual(self.root, zope.component.hooks.getSite())
            login('zope.user')
            self.root['content'] = sample.Content()
        self.assertIsNone(TaskDescription.get_principal())
        self.assertIsNone(zope.component.hooks.getSite())
        self.assertNotIn('content', self.root)

    def test_a_test_that_fails(self):
        """As well."""
        with self.assertRaises(ZeroDivisionError), entered(self.root):
            login('zope.user')
            raise ZeroDivisionError
        self.assertIsNone(TaskDescription.get_principal())


class CreateTest(unittest.TestCase):
    """What is put into a conftest.py."""

    def test_names(self):
        """Also if zope.pytestlayer has made those of the layer before."""
        for layer in (FUNCTIONAL_LAYER,
                      'gocept.async_.testing.FUNCTIONAL_LAYER'):
            self.assertIn('async_services', fixtures.create(layer))

    def test_several_conftests(self):
        """Each has those of the layer, too."""
        layer = BrowserLayer(
            gocept.async_.tests, name='TWICE', allowTearDown=True)
        self.assertEqual(
            set(fixtures.create(layer)), set(fixtures.create(layer)))
        self.assertEqual(4, len(set(fixtures.create(layer))
                                - set(fixtures.create(FUNCTIONAL_LAYER))
                                | {'async_services'}))

    def test_layer_that_cannot_be_torn_down(self):
        """It is told before all tests, and not after them."""
        layer = BrowserLayer(gocept.async_.tests, name='FOR_EVER')
        with self.assertRaisesRegex(TypeError, 'FOR_EVER.*allowTearDown'):
            fixtures.create(layer)
