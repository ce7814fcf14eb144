"""Tasks of lovely.remotetask, without gocept.async."""
from py2shop.errors import PaymentError

import lovely.remotetask.interfaces
import lovely.remotetask.task


def echo(input):
    import py2shop.jobs
    py2shop.jobs.note('echo', input)
    return input


def fail_task_error(input):
    raise lovely.remotetask.task.TaskError('no way', 17)


def fail_payment(input):
    raise PaymentError(402, f'Zahlung für {input}')


def fail_unicode(input):
    raise ValueError('Größe')


def fail_key(input):
    raise KeyError('x')


echo_task = lovely.remotetask.task.SimpleTask(echo)
task_error = lovely.remotetask.task.SimpleTask(fail_task_error)
payment = lovely.remotetask.task.SimpleTask(fail_payment)
unicode_error = lovely.remotetask.task.SimpleTask(fail_unicode)
key_error = lovely.remotetask.task.SimpleTask(fail_key)
