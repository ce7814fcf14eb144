"""Why a task service is not there, and what to do: sentences for people."""

from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.part import home
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.part import parents
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import ROOT_FOLDER
from lovely.remotetask.startup import openedDatabase


# Instead of a reason.
UNREADABLE = 'but what is on the way to its site cannot be read.'

# Of a service that is registered, see `part.is_nowhere`.
NOWHERE = (
    'it is only registered: it lies in no folder, where processors would '
    'find it, so nobody runs its jobs. Put it back into a folder, or '
    'unregister it.')


def no_site(root, declaration):
    """Return why a declared site is not there, and what to do.

    root -- the root folder, None if there is none.

    A pair of texts: a reason without a full stop, and a sentence.
    """
    if root is None:
        return 'the database has no root folder', ROOT_FOLDER
    path, site = '', root
    for name in filter(None, declaration.site.split('/')):
        if server().names(site) is None:
            return f'{path} is no folder', _correct(declaration)
        site = server().find(site, [name])
        path = f'{path}/{name}'
        if site is None:
            return f'there is no {path}', _correct(declaration)
    what = path or 'the root folder'
    return (f'{what} has no site manager',
            f'Make {what} a site (give it a site manager), or correct the '
            f'attribute "site", and restart.')


def _correct(declaration):
    return (f'Add the site {declaration.site}, or correct the attribute '
            f'"site", and restart.')


def untold(declaration):
    """Return what to log of a service that nobody was asked to create."""
    return (
        f'async:service "{declaration.name}": none of its jobs is run, nor is '
        f'it created: the application has told of no database with a root '
        f'folder. {ROOT_FOLDER}')


def unseen(name, declarations):
    """Return why the caller sees no service of a name, and what to do.

    declarations -- all IServiceDeclarations.
    """
    declared = next((each for each in declarations if each.name == name), None)
    site = server().site()
    if site is None:
        where = '' if declared is None else f', {declared.site}'
        return (
            f'There is no current site, so the task service {name!r} is not '
            f'seen; set the site that holds it{where}: '
            f'zope.component.hooks.setSite(site).'
            f'{_others(declared, declarations)}')
    found = nowhere(name)
    if found is not None:
        return found
    if declared is None:
        return (
            f'There is no task service {name!r}; declare it in ZCML: '
            f'<async:service name="{name}" />.'
            f'{_others(declared, declarations)}')
    return (f'There is no task service {name!r}: it is declared in ZCML, '
            f'{_asked(_why, declared, site) or UNREADABLE}')


def nowhere(name):
    """Return what to say of the service that the current site sees.

    That it lies nowhere; None for any other.
    """
    site = server().site()
    if site is None or not _asked(_is_lost, site, name):
        return None
    return f'There is no task service {name!r} to call: {NOWHERE}'


def missing(declared, root):
    """Return why a declared service does not exist, and what to do."""
    if declared.find_site(root) is None:
        reason, advice = no_site(root, declared)
        return f'there is no site {declared.site}: {reason}. {advice}'
    if declared.find(root) is not None:
        return NOWHERE
    what = ('the application has not created it when it opened its database; '
            'the log of its start says why.')
    return what if openedDatabase() is not None else f'{what} {ROOT_FOLDER}'


def _is_lost(site, name):
    """Return whether the service that a site sees lies nowhere."""
    found = (dict(server().services(each)).get(name)
             for each in parents(site) if server().is_site(each))
    return is_nowhere(next(
        (each for each in found if each is not None), None))


def _why(declared, site):
    """Return why a declared service is not seen from the current site."""
    connection = home(site)
    root = None if connection is None else server().root(connection)
    if root is not None and declared.find(root) is None:
        return f'but {missing(declared, root)}'
    # A site may lie nowhere, or be something that has no path.
    path = _asked(server().path, site)
    here = '' if path is None else f', /{"/".join(path)}'
    return (f'in the site {declared.site}, and not seen from the current '
            f'one{here}; set that site: zope.component.hooks.setSite(site).')


def _asked(call, *args):
    """Return what a call returns, None if it fails because of the content."""
    found = outcome_of(call, *args)
    if found.failed and value.is_of_database(found):
        raise found.exception
    return found.value


def _others(declared, declarations):
    """Return a sentence that names what is declared instead, or ''."""
    if declared is not None or not declarations:
        return ''
    names = ', '.join(f'"{each.name}"' for each in declarations)
    return f' In ZCML there is only {names}.'
