"""Who makes a call, and what it may do when it is run."""

import unittest

import transaction
import zope.authentication.interfaces
import zope.component
import zope.component.hooks
import zope.interface
import zope.security.management
from zope.i18nmessageid import Message
from zope.security.management import system_user
from zope.security.testing import Participation
from zope.security.testing import Principal
from zope.securitypolicy.interfaces import IPrincipalPermissionManager
from zope.securitypolicy.interfaces import IRolePermissionManager

from gocept.async_ import function
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.test_task import add_site
from lovely.remotetask.running import principal
from lovely.remotetask.running.execution import ProcessorRequest


IAuthentication = zope.authentication.interfaces.IAuthentication
IFallback = zope.authentication.interfaces.IFallbackUnauthenticatedPrincipal

PERMISSION = 'test.Permission'

# What the function `look` has seen: principals, and what they may do.
seen = []


@function('events')
def look():
    """Notes who it runs as, and whether they have the permission."""
    interaction = zope.security.management.getInteraction()
    site = zope.component.hooks.getSite()
    seen.append((
        [each.principal for each in interaction.participations],
        zope.security.management.checkPermission(PERMISSION, site)))


class Nameless(Participation):
    """A participation that knows of no principal."""

    def __init__(self):
        self.interaction = None


class WithId:
    """A principal with an id of any kind."""

    groups = ()

    def __init__(self, id):
        self._id = id

    @property
    def id(self):
        if isinstance(self._id, BaseException):
            raise self._id
        return self._id


class Loud(str):
    """A text that says something else when it is formatted or compared."""

    def __str__(self):
        return 'zope.manager'

    __format__ = __repr__ = __str__

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


@zope.interface.implementer(IAuthentication)
class Authentication(sample.Content):
    """Knows the principals it was made with; answers what it is told to."""

    __name__ = __parent__ = None

    def __init__(self, *principals, **answers):
        self.answers = {each.id: each for each in principals}
        self.answers.update(answers)

    def getPrincipal(self, id):
        if id not in self.answers:
            raise zope.authentication.interfaces.PrincipalLookupError(id)
        return self.answers[id]


class PrincipalTestCase(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        seen.clear()

    def authenticate(self, *principals, **answers):
        """Register an authentication for this test."""
        authentication = Authentication(*principals, **answers)
        manager = zope.component.getGlobalSiteManager()
        before = manager.getUtility(IAuthentication)
        manager.registerUtility(authentication, IAuthentication)
        self.addCleanup(manager.registerUtility, before, IAuthentication)

    def call(self, *participations):
        """Call the function in an interaction."""
        logout()
        zope.security.management.newInteraction(*participations)
        look()
        logout()

    def run_as(self, *principals):
        """Call the function as principals, and run it."""
        self.call(*map(Participation, principals))
        process()
        return seen.pop()

    def grant(self, *principals, to=None):
        for each in principals:
            IPrincipalPermissionManager(
                self.root if to is None else to).grantPermissionToPrincipal(
                    PERMISSION, each)
        transaction.commit()

    def assertFails(self, error):
        process(raise_errors=False)
        self.assertEqual([], seen)
        self.assertEqual(
            ('error', 'lovely.remotetask.task.TaskError'),
            (self.job().status, self.job().errorClass))
        self.assertRegex(self.job().error, error)


class SystemUserTest(PrincipalTestCase):
    """Nobody is the system user by an id."""

    def test_system_user(self):
        """What the system has called runs as the system."""
        principals, may = self.run_as(system_user)
        self.assertIs(system_user, principals[0])
        self.assertTrue(may)

    def test_somebody_with_that_id(self):
        """Runs as who the authentication knows by it."""
        impostor = Principal(system_user.id)
        self.authenticate(impostor)
        principals, may = self.run_as(impostor)
        self.assertEqual([impostor], principals)
        self.assertIsNot(system_user, principals[0])
        self.assertFalse(may)

    def test_somebody_with_that_id_who_is_not_known(self):
        """The job fails."""
        self.call(Participation(Principal(system_user.id)))
        self.assertFails(f"'{system_user.id}' no longer exists")

    def test_authentication_that_answers_with_the_system_user(self):
        """It is not asked for that one."""
        self.authenticate(system_user)
        self.call(Participation(Principal(system_user.id)))
        self.assertFails('no longer exists')

    def test_text_that_says_to_be_that_id(self):
        """Nor by a subclass of str."""
        sly = WithId(Loud(system_user.id))
        self.authenticate(Principal(system_user.id))
        principals, may = self.run_as(sly)
        self.assertIsNot(system_user, principals[0])
        self.assertFalse(may)

    def test_call_without_a_mark(self):
        """As gocept.async 0.3 has stored it: the id alone."""
        self.call(Participation(system_user))
        del self.job().input.principals
        self.assertEqual(system_user.id, self.job().input.principal)
        self.assertFails(f"'{system_user.id}' no longer exists")

    def test_call_without_a_mark_of_somebody_with_that_id(self):
        """The authentication knows who is meant."""
        impostor = Principal(system_user.id)
        self.authenticate(impostor)
        self.call(Participation(system_user))
        del self.job().input.principals
        process()
        (principals, may), = seen
        self.assertEqual(([impostor], False), (principals, may))

    def test_fallback(self):
        """The one for visitors is told by what it is, too."""
        fallback = zope.component.getUtility(IFallback)
        principals, _ = self.run_as(fallback)
        self.assertIs(fallback, principals[0])

    def test_somebody_with_the_id_of_the_fallback(self):
        """Has the rights of that principal, and no others."""
        fallback = zope.component.getUtility(IFallback)
        other = Principal(fallback.id)
        self.call(Participation(other))
        self.assertFails(f"'{fallback.id}' no longer exists")

    def test_fallback_that_is_gone(self):
        """Nobody else takes its place."""
        fallback = zope.component.getUtility(IFallback)
        self.call(Participation(fallback))
        manager = zope.component.getGlobalSiteManager()
        manager.unregisterUtility(fallback, IFallback)
        self.addCleanup(manager.registerUtility, fallback, IFallback)
        self.assertFails('no IFallbackUnauthenticatedPrincipal')


class SomebodyElseTest(PrincipalTestCase):
    """A call never runs as somebody else."""

    def test_authentication_that_answers_with_another(self):
        """It may take what is written in another way for the same."""
        self.authenticate(joe=Principal('Joe'))
        self.call(Participation(Principal('joe')))
        self.assertFails("'joe' no longer exists")

    def test_authentication_that_answers_with_none(self):
        """Without a principal there would be other rights."""
        self.authenticate(joe=None)
        self.call(Participation(Principal('joe')))
        self.assertFails("'joe' no longer exists")

    def test_kind_of_principal_that_is_not_known(self):
        """Later code has stored the call; it is not run as another."""
        login('zope.user')
        look()
        self.job().input.principals = (('sudo', 'zope.user'),)
        process(raise_errors=False)
        self.assertEqual([], seen)
        self.assertEqual('held', self.job().status)
        self.assertIn("kind 'sudo'", self.job().error)

    def test_authentication_of_the_site(self):
        """It knows others by the same ids."""
        site = add_site(self.root, 'site')
        here = Principal('zope.user', 'Another one')
        site['authentication'] = Authentication(here)
        site.getSiteManager().registerUtility(
            site['authentication'], IAuthentication)
        with zope.component.hooks.site(site):
            self.call(Participation(Principal('zope.user')))
        process()
        self.assertEqual('Another one', seen[0][0][0].title)


class SeveralTest(PrincipalTestCase):
    """Several principals may what all of them may."""

    def setUp(self):
        super().setUp()
        self.people = [Principal(name) for name in ('ann', 'ben', 'eve')]
        self.ann, self.ben, self.eve = self.people
        self.authenticate(*self.people)
        self.grant('ann', 'ben')

    def test_all_of_them_run(self):
        """One participation each, in their order."""
        principals, _ = self.run_as(self.ben, self.ann)
        self.assertEqual([self.ben, self.ann], principals)

    def test_what_all_of_them_may(self):
        """Is granted, as it was at the call."""
        self.assertTrue(self.run_as(self.ann)[1])
        self.assertTrue(self.run_as(self.ann, self.ben)[1])

    def test_what_one_of_them_may_not(self):
        """Whoever comes first."""
        self.assertFalse(self.run_as(self.ann, self.eve)[1])
        self.assertFalse(self.run_as(self.eve, self.ann)[1])

    def test_system_user_among_them(self):
        """It takes nothing away, and gives nothing."""
        for who in (self.ann, self.eve):
            principals, may = self.run_as(system_user, who, system_user)
            self.assertEqual([system_user, who], principals)
            self.assertEqual(who is self.ann, may)

    def test_somebody_with_the_id_of_the_system_user_among_them(self):
        """Is another than the system user."""
        impostor = Principal(system_user.id)
        self.authenticate(self.ann, impostor)
        principals, may = self.run_as(system_user, impostor, self.ann)
        self.assertEqual([system_user, impostor, self.ann], principals)
        self.assertFalse(may)

    def test_the_same_twice(self):
        """Takes part once."""
        principals, may = self.run_as(self.ann, Principal('ann'), self.ann)
        self.assertEqual(([self.ann], True), (principals, may))

    def test_none_among_them(self):
        """May nothing that must be granted; so they may not, either."""
        for order in (self.ann, None), (None, self.ann):
            principals, may = self.run_as(*order)
            self.assertFalse(may)
            self.assertEqual({'ann', None}, {each.id for each in principals})

    def test_participation_without_a_principal(self):
        """The same: its attribute is missing."""
        self.call(Participation(self.ann), Nameless())
        process()
        (_, may), = seen
        self.assertFalse(may)

    def test_one_of_them_is_gone(self):
        """The others do not run alone."""
        self.call(Participation(self.ann), Participation(Principal('gone')))
        self.assertFails("'gone' no longer exists")

    def test_job_that_stores_a_call(self):
        """All of them are its principals as well."""
        zope.security.management.newInteraction(
            ProcessorRequest(self.ann), ProcessorRequest(self.eve))
        look.enqueue()
        logout()
        self.assertEqual((('listed', 'ann'), ('listed', 'eve')),
                         self.job().input.principals)
        process()
        self.assertFalse(seen[0][1])


class NobodyTest(PrincipalTestCase):
    """A call without a principal may what everybody may."""

    def nobody(self, *participations):
        if participations:
            self.call(*participations)
        else:
            logout()
            look()
        process()
        (principals, may), = seen
        seen.clear()
        self.assertEqual([None], [each.id for each in principals])
        return may

    def check_all(self, expected):
        """Check all ways to have no principal."""
        logout()
        self.assertEqual(expected, self.nobody())
        self.assertEqual(expected, self.nobody(Participation(None)))
        self.assertEqual(expected, self.nobody(Nameless()))
        self.assertEqual(expected, self.nobody(Participation(WithId(None))))
        zope.security.management.newInteraction()
        look()
        logout()
        process()
        self.assertEqual(expected, seen.pop()[1])

    def test_without_any_grant(self):
        """Nothing."""
        self.check_all(False)

    def test_what_is_granted_to_the_role_of_everybody(self):
        """Zope's policy gives zope.Anonymous to any principal."""
        IRolePermissionManager(self.root).grantPermissionToRole(
            PERMISSION, 'zope.Anonymous')
        self.check_all(True)

    def test_what_is_granted_to_somebody(self):
        """Neither to visitors nor to groups: it belongs to none."""
        self.grant('zope.anybody', 'zope.Everybody', 'zope.Authenticated',
                   'zope.user', 'zope.manager', system_user.id,
                   zope.component.getUtility(IFallback).id)
        self.check_all(False)

    def test_groups_of_a_principal_without_an_id(self):
        """Whoever has no id is nobody, whatever its groups."""
        without_id = WithId(None)
        without_id.groups = ['zope.Everybody']
        self.grant('zope.Everybody')
        self.assertFalse(self.nobody(Participation(without_id)))


class GroupTest(PrincipalTestCase):
    """The groups of a principal count when the call is run."""

    def test_member(self):
        """What is granted to a group is granted to who is in it by then."""
        ann, group = Principal('ann'), Principal('group')
        self.authenticate(ann, group)
        self.grant('group')
        self.assertFalse(self.run_as(ann)[1])
        ann.groups = ['group']
        self.call(Participation(Principal('ann')))
        process()
        self.assertTrue(seen.pop()[1])

    def test_member_no_longer(self):
        """What a principal was at the call is not stored."""
        ann, group = Principal('ann'), Principal('group')
        self.authenticate(ann, group)
        self.grant('group')
        before = Principal('ann')
        before.groups = ['group']
        self.assertFalse(self.run_as(before)[1])


class IdTest(PrincipalTestCase):
    """Ids are stored as plain texts, or the call is refused."""

    def assertRefused(self, message, who):
        with self.assertRaisesRegex(TypeError, message):
            self.call(Participation(Principal('ann')), Participation(who))
        logout()
        self.assertEqual([], self.jobs())

    def test_other_types(self):
        """An id is a str."""
        for id in (5, b'ann', ('ann',), object(), ['ann']):
            with self.subTest(id):
                self.assertRefused(
                    f'id of its principal must be a str, not .*'
                    f'{type(id).__name__}', WithId(id))

    def test_id_that_raises(self):
        """Whatever it is."""
        for error in (RuntimeError('no'), SystemExit(1), LookupError()):
            with self.subTest(error):
                self.assertRefused(
                    r'its principal .*WithId\) does not say its id: '
                    f'builtins.{type(error).__name__}', WithId(error))
        self.assertRefused(r'object\) does not say its id', object())

    def test_subclasses_of_str(self):
        """Their text is stored, in the plain type."""
        self.authenticate(Principal('ann'))
        for id in (Message('ann', 'shop'), Loud('ann')):
            with self.subTest(type(id)):
                principals, _ = self.run_as(WithId(id))
                self.assertEqual('ann', principals[0].id)
                stored = self.job().input
                self.assertIs(str, type(stored.principal))
                self.assertIsNone(stored.principals)
                self.service.clean()


class ForPeopleTest(PrincipalTestCase):
    """The id that logs and the list of actions show."""

    def shown(self, *principals):
        logout()
        self.addCleanup(logout)
        zope.security.management.newInteraction(
            *map(Participation, principals))
        return principal.current_id()

    def test_whatever_it_is(self):
        for id, shown in ((None, None), ('zope.user', 'zope.user'), (5, '5'),
                          (Loud('zope.user'), 'zope.user'),
                          (SystemExit('id'), None)):
            with self.subTest(repr(id)):
                found = self.shown(WithId(id))
                self.assertEqual(shown, found)
                self.assertIn(type(found), (str, type(None)))

    def test_it_is_asked_once(self):
        """It may fail, or be another one, the second time."""
        ids = iter(['zope.user'])
        asked = type('Asked', (), {'id': property(lambda self: next(ids))})
        self.assertEqual('zope.user', self.shown(asked()))

    def test_one_that_is_long(self):
        found = self.shown(WithId('x' * 100_000))
        self.assertTrue(found.startswith('xxx'))
        self.assertLess(len(found), 2000)

    def test_the_first_one_that_has_an_id(self):
        self.assertEqual('second', self.shown(
            WithId(ValueError()), WithId(None), WithId('second')))


class StoredTest(unittest.TestCase):
    """What is stored of the principals."""

    def setUp(self):
        self.addCleanup(logout)
        logout()

    def test_nobody(self):
        """Without an interaction there is nothing to store."""
        self.assertEqual((), principal.current())

    def test_kinds(self):
        """Pairs of kind and id."""
        zope.security.management.newInteraction(
            Participation(system_user), Participation(Principal('ann')),
            Participation(None))
        self.assertEqual(
            (('system', system_user.id), ('listed', 'ann'), ('nobody', None)),
            principal.current())
        self.assertEqual(system_user.id,
                         principal.first_id(principal.current()))

    def test_login(self):
        """The usual one."""
        login('joe')
        self.assertEqual((('listed', 'joe'),), principal.current())
