"""Where the classes of Zope 3.4 (KGS 3.4) are today: rules for zodbupdate.

zodbupdate finds them as the entry point of this distribution.  The packages
that the names on the right belong to have to be installed, for those that
are used.
"""

# Module of then, module of today, names.
_MOVED = (
    ('zope.app.authentication.authentication',
     'zope.pluggableauth.authentication', 'PluggableAuthentication'),
    ('zope.app.authentication.principalfolder',
     'zope.pluggableauth.plugins.principalfolder',
     'PrincipalFolder InternalPrincipal'),
    ('zope.app.catalog.catalog', 'zope.catalog.catalog', 'Catalog'),
    ('zope.app.catalog.field', 'zope.catalog.field', 'FieldIndex'),
    ('zope.app.catalog.interfaces', 'zope.catalog.interfaces', 'ICatalog'),
    ('zope.app.catalog.keyword', 'zope.catalog.keyword', 'KeywordIndex'),
    ('zope.app.catalog.text', 'zope.catalog.text', 'TextIndex'),
    ('zope.app.component.interfaces', 'zope.component.interfaces', 'ISite'),
    ('zope.app.component.site', 'zope.site.site',
     'LocalSiteManager SiteManagementFolder _LocalAdapterRegistry'),
    ('zope.app.container.btree', 'zope.container.btree', 'BTreeContainer'),
    ('zope.app.container.contained', 'zope.container.contained',
     'ContainedProxy'),
    ('zope.app.container.interfaces', 'zope.location.interfaces',
     'IContained'),
    ('zope.app.container.ordered', 'zope.container.ordered',
     'OrderedContainer'),
    ('zope.app.error.error', 'zope.error.error',
     'RootErrorReportingUtility'),
    ('zope.app.error.interfaces', 'zope.error.interfaces',
     'IErrorReportingUtility'),
    ('zope.app.folder.folder', 'zope.site.folder', 'Folder'),
    ('zope.app.folder.interfaces', 'zope.site.interfaces',
     'IFolder IRootFolder'),
    ('zope.app.intid', 'zope.intid', 'IntIds'),
    ('zope.app.intid.interfaces', 'zope.intid.interfaces', 'IIntIds'),
    ('zope.app.keyreference.persistent', 'zope.keyreference.persistent',
     'KeyReferenceToPersistent'),
    ('zope.app.principalannotation', 'zope.principalannotation.utility',
     'PrincipalAnnotationUtility'),
    ('zope.app.principalannotation.interfaces',
     'zope.principalannotation.interfaces', 'IPrincipalAnnotationUtility'),
    ('zope.app.security.interfaces', 'zope.authentication.interfaces',
     'IAuthentication'),
    ('zope.app.security.settings', 'zope.securitypolicy.settings',
     'Allow Deny Unset'),
    ('zope.component.interfaces', 'zope.interface.interfaces',
     'ComponentLookupError'),
    ('zope.location.interfaces', 'zope.component.interfaces', 'ISite'),
)

renames = {f'{old} {name}': f'{new} {name}'
           for old, new, names in _MOVED for name in names.split()}
