"""The subjects of the State API and its console."""

from collections.abc import Hashable, Mapping
from typing import Protocol, runtime_checkable

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import Clock
from gae_devserver.console.blobs import BlobRoutes
from gae_devserver.console.datastore.entities import EntityRoutes
from gae_devserver.console.datastore.entity import OneEntityRoutes
from gae_devserver.console.datastore.entity_files import EntityFileRoutes
from gae_devserver.console.datastore.entity_writes import EntityWrites
from gae_devserver.console.datastore.indexes import IndexRoute
from gae_devserver.console.datastore.kinds import DatastoreRoute
from gae_devserver.console.frame.link import ConsoleLink
from gae_devserver.console.frame.pages import FileRoutes
from gae_devserver.console.mails import MailRoutes
from gae_devserver.console.memcache import MemcacheRoutes
from gae_devserver.console.requests.requests import RequestRoutes
from gae_devserver.console.reset import Reset
from gae_devserver.console.search import SearchRoutes
from gae_devserver.console.services import Addresses, Service, ServiceRoutes
from gae_devserver.console.tasks.attempts import AttemptRoutes
from gae_devserver.console.tasks.calls import Calls
from gae_devserver.console.tasks.clock import ClockRoutes
from gae_devserver.console.tasks.cloud_tasks import CloudTasksRoutes
from gae_devserver.console.tasks.cron import CronRoutes
from gae_devserver.console.tasks.queues import QueueRoutes
from gae_devserver.console.tasks.timeline import TimelineRoutes
from gae_devserver.console.users import UserRoutes
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.mail.inbound import InboundMail
from gae_devserver.services.services import Services
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.users.sessions import Sessions


class Subject(Protocol):
    """A subject of the State API, in a module of its own."""

    def routes(self) -> list[web.RouteDef]:
        """Return its routes."""


@runtime_checkable
class Watched(Protocol):
    """A subject whose pages get themselves again after a change."""

    def revisions(self) -> Mapping[str, Hashable]:
        """Return a value for each name in `data-live`: another one after a change.

        This is called five times a second while a page is open, so it must be quick.
        """


def all_subjects(
    services: Services,
    databases: Databases,
    runner: TaskRunner,
    cron: CronJobs,
    clock: Clock,
    activity: Activity,
    *,
    reset: Reset,
    link: ConsoleLink,
    inbound: InboundMail,
    sessions: Sessions,
    running: Mapping[str, Service],
    addresses: Addresses,
) -> list[Subject]:
    """Return every subject; `running` are the app's services, the main one first."""
    taskqueue = services.taskqueue
    calls = Calls(services.datastore.stub)
    clock_routes = ClockRoutes(clock, runner, activity)
    writes = EntityWrites(lambda: services.stub("memcache"), services.flush)

    def url_of(service: str) -> str:
        main = next(iter(running.values()))
        return f"http://{running.get(service, main).hostname}"

    return [
        FileRoutes(),
        link,
        TimelineRoutes(taskqueue, clock, activity, lambda: clock_routes.last_advance),
        clock_routes,
        QueueRoutes(taskqueue, runner, clock, activity, calls),
        AttemptRoutes(taskqueue, clock, activity, calls),
        CronRoutes(cron, clock),
        CloudTasksRoutes(taskqueue, clock),
        RequestRoutes(activity, url_of),
        *datastore_subjects(databases, writes),
        IndexRoute(services.indexes),
        MemcacheRoutes(services, clock),
        BlobRoutes(services),
        MailRoutes(services, inbound),
        SearchRoutes(services),
        UserRoutes(sessions, addresses.app_port),
        ServiceRoutes(running, addresses),
        reset,
    ]


def datastore_subjects(databases: Databases, writes: EntityWrites) -> list[Subject]:
    """Return the subjects that are about entities."""
    return [
        DatastoreRoute(databases),
        EntityRoutes(databases, writes),
        OneEntityRoutes(databases, writes),
        EntityFileRoutes(databases, writes),
    ]
