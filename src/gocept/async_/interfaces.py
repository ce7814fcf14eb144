"""Contracts of the asynchronous functions and of the services declared."""

import zope.interface


class IServiceDeclaration(zope.interface.Interface):
    """What an ``async:service`` directive says; a utility of that name."""

    name = zope.interface.Attribute('The name of the ITaskService utility.')

    site = zope.interface.Attribute(
        'Path of the site that holds the service: names between slashes.')

    database = zope.interface.Attribute(
        'Name of the database in which the service is stored with its jobs; '
        'empty for that of the site.')

    autostart = zope.interface.Attribute(
        'Whether a web application starts the processor.')

    processorFactory = zope.interface.Attribute('See IProcessorSettings.')

    processorArguments = zope.interface.Attribute('See IProcessorSettings.')

    policy = zope.interface.Attribute('See IProcessorSettings.')

    def find_site(root):
        """Return the site below a root folder, None if there is none."""

    def find(root):
        """Return the declared service below a root folder, or None."""


class ICronDeclaration(zope.interface.Interface):
    """What an ``async:cron`` directive says; a utility.

    Its name is that of the service, a slash and that of the job.
    """

    name = zope.interface.Attribute('The name of the job.')

    service = zope.interface.Attribute('That of the declared service.')

    function = zope.interface.Attribute(
        'The dotted name of the decorated function.')

    principal = zope.interface.Attribute(
        'The id of the principal as whom it is run; None: nobody.')

    pattern = zope.interface.Attribute(
        'Keyword arguments of ICronJob.update, as they are stored.')


class IBroker(zope.interface.Interface):
    """What an ``async:celery`` directive says; a utility."""

    url = zope.interface.Attribute('Where the broker is; may be None.')

    options = zope.interface.Attribute("Mapping of Celery's settings.")

    publish_timeout = zope.interface.Attribute(
        'Seconds a request is delayed at most when it sends messages.')

    resend_after = zope.interface.Attribute(
        'Seconds a job waits, while the queue of the broker is empty, before '
        'its message is taken for lost and sent again.')


class IRenamedFunction(zope.interface.Interface):
    """Where a function is now; a utility whose name is its old name."""

    name = zope.interface.Attribute('The dotted name of the function.')


class ITaskDescription(zope.interface.Interface):
    """A function call that can be stored and made later."""

    f = zope.interface.Attribute(
        'The decorated function; resolved when it is read.')

    args = zope.interface.Attribute('Tuple of positional arguments.')

    kwargs = zope.interface.Attribute('Mapping of keyword arguments.')

    function_name = zope.interface.Attribute(
        'The dotted name of the function, as it was stored. None if it '
        'cannot be read; the arguments need not be readable.')

    principal = zope.interface.Attribute(
        'Id of the principal who made the call, the first one of several; '
        'or None.')

    principals = zope.interface.Attribute(
        'All of them, see IApplicationServer; None if there is only '
        'one, who is known by that id, or nobody.')

    site = zope.interface.Attribute(
        'The site in which the call was made, or None.')
