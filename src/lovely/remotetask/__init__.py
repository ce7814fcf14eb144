"""The task service: jobs, their queue, their execution, their processors."""

from lovely.remotetask.service import TaskService


__all__ = ['TaskService']
