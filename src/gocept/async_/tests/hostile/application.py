"""The configuration of the application, for each way to run its jobs."""

from pathlib import Path

from gocept.async_.tests.workerstage import CONFIGURATION


SITE = '''
<configure
    xmlns="http://namespaces.zope.org/zope"
    xmlns:async="http://namespaces.gocept.com/async"
    i18n_domain="gocept.async">

  <include package="gocept.async_" file="meta.zcml" />
  <include package="gocept.async_" file="ftesting.zcml" />

  <utility
      component="gocept.async_.tests.hostile.jobs.raw_task"
      provides="lovely.remotetask.interfaces.ITask"
      name="hostile.raw"
      />

  <utility
      component="gocept.async_.tests.hostile.jobs.cron_task"
      provides="lovely.remotetask.interfaces.ITask"
      name="hostile.cron"
      />
  {celery}
  <async:service
      name="events"
      {processor}
      retry_wait="0.2"
      />

  <async:service
      name="grouped"
      {processor}
      retry_wait="0.2"
      commit_every="20"
      />

</configure>
'''

CELERY = '''
  <async:celery
      publish_timeout="1.0"
      resend_after="1.0"
      />
'''

PROCESSORS = {
    'threads': 'processor="multi" threads="2"',
    'worker': 'processor="multi" threads="2" autostart="false"',
    'celery': 'processor="celery"',
    # Yesterday's code only adds jobs.
    'old': 'autostart="false"'}

BROKER = '''
<product-config gocept.async>
  celery-broker {url}
</product-config>
'''


def write(folder, place, section, broker=None):
    """Write a zope.conf, and ZCML that it names.  Return its path.

    place -- where the jobs are run; or `old`, nowhere.
    section -- that of the storage.
    broker -- its URL.
    """
    site = Path(folder, f'{place}.zcml')
    site.write_text(SITE.format(
        celery='' if broker is None else CELERY,
        processor=PROCESSORS[place]))
    # An import stands outside of sections.
    imports = '%import relstorage' if section.startswith('%import') else ''
    path = Path(folder, f'{place}.conf')
    path.write_text(imports + CONFIGURATION.format(
        site=site, log=f'{folder}/event.log',
        storage=section.removeprefix('%import relstorage\n'))
        + ('' if broker is None else BROKER.format(url=broker)))
    return path
