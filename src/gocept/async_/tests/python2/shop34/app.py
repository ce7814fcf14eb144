import persistent
import zope.annotation.interfaces
import zope.component.hooks
import zope.container.btree
import zope.container.contained
import zope.container.ordered
import zope.interface
import zope.site.folder

import lovely.remotetask.interfaces
import lovely.remotetask.task


@zope.interface.implementer(zope.annotation.interfaces.IAttributeAnnotatable)
class Order(zope.container.contained.Contained, persistent.Persistent):
    def __init__(self, number, customer):
        self.number, self.customer = number, customer


@zope.interface.implementer(zope.annotation.interfaces.IAttributeAnnotatable)
class Orders(zope.container.btree.BTreeContainer):
    pass


class Basket(zope.container.ordered.OrderedContainer):
    pass


class Shop(zope.site.folder.Folder):
    pass


done = []


@zope.interface.implementer(lovely.remotetask.interfaces.ITask)
class OrderTask:
    inputSchema = outputSchema = zope.interface.Interface

    def __call__(self, service, jobid, input):
        site = zope.component.hooks.getSite()
        done.append((jobid, getattr(site, '__name__', None), repr(input)))
        return 'done ä'


def fail(input):
    raise lovely.remotetask.task.TaskError(input)


order = OrderTask()
failing = lovely.remotetask.task.SimpleTask(fail)
