"""Reads the YAML files of all services of an app, and the files that they share."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gae_devserver.config import named_files, service_file
from gae_devserver.config.app_yaml import AppConfig, load_app_yaml
from gae_devserver.config.dispatch_yaml import (
    Dispatch,
    DispatchRule,
    load_dispatch_yaml,
)
from gae_devserver.config.index_yaml import IndexYaml, load_index_yaml
from gae_devserver.config.parsing import ConfigError
from gae_devserver.config.queue_yaml import DEFAULT_QUEUE, QueueConfig, load_queue_yaml
from gae_devserver.config.targets import Versions
from gae_devserver.config.unused_files import unused
from gae_devserver.config.warnings import FILES

if TYPE_CHECKING:
    from gae_devserver.config.cron_yaml import CronJob


@dataclasses.dataclass(frozen=True)
class AppFiles:
    """The files that all services share. Each of them may be missing."""

    queue: Path
    cron: Path
    index: Path
    dispatch: Path | None
    """None: not used, because there is one service, and the user did not name it."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        found = (self.queue, self.cron, self.index, self.dispatch)
        return tuple(path for path in found if path is not None)


@dataclasses.dataclass(frozen=True)
class Application:
    """An app: the configuration of its services, and what they share."""

    services: tuple[AppConfig, ...]
    """The main service first, then the others as the user named them."""
    files: AppFiles
    queues: tuple[QueueConfig, ...] = (DEFAULT_QUEUE,)
    cron_jobs: "tuple[CronJob, ...]" = ()
    indexes: IndexYaml = dataclasses.field(default_factory=IndexYaml)
    dispatch: tuple[DispatchRule, ...] = ()
    warnings: tuple[str, ...] = ()
    """Those of each service, and a sentence for each mistake in the shared files."""

    @property
    def main(self) -> AppConfig:
        """The service `default`, or the first one that the user named."""
        return self.services[0]

    @property
    def versions(self) -> Versions:
        """The services with their versions, the main one first."""
        return {service.service: service.version for service in self.services}


def load(targets: Sequence[Path]) -> Application:
    """Read the YAML files of services, and those that they share.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    return with_shared_files(load_services(targets))


def load_services(targets: Sequence[Path]) -> Application:
    """Read the YAML files of the services alone, which is enough to start them.

    A target is a folder with app.yaml, the YAML file of a service, or one of the
    files that services share.

    Raises:
        ConfigError: a file is missing, or this server cannot use it.
    """
    named = named_files.sort(targets)
    # such as a frontend in Node.js: those in Python run without it
    foreign = [path for path in named.services if service_file.is_foreign(path)]
    if len(foreign) == len(named.services):
        foreign = []
    services = [load_app_yaml(path) for path in named.services if path not in foreign]
    _check_names(services)
    included = {path.resolve() for config in services for path in config.files}
    for path in named.others:
        if path.resolve() not in included:
            good = (str(target) for target in targets if target not in named.others)
            raise ConfigError(
                f"{path} {service_file.NO_RUNTIME}. Pass only {' '.join(good)}"
            )
    services.sort(key=lambda config: config.service != service_file.DEFAULT)
    main = services[0]
    shared = {name: main.folder / name for name in named_files.SHARED} | named.shared
    uses_dispatch = len(services) > 1 or "dispatch.yaml" in named.shared
    warnings = [
        *_without_effect(services),
        *(warning for config in services for warning in config.warnings),
        *(f"{name} is not emulated: {FILES[name]}." for name in named.ignored),
        *(f"{path} {service_file.NOT_HERE}." for path in foreign),
        *unused(services, named.shared),
    ]
    if len(services) > 1 and main.service != service_file.DEFAULT:
        warnings.append(
            f"no service that runs is called '{service_file.DEFAULT}'. Requests that "
            f"no rule of dispatch.yaml is for go to '{main.service}', the first one."
        )
    return Application(
        services=tuple(services),
        files=AppFiles(
            queue=shared["queue.yaml"],
            cron=shared["cron.yaml"],
            index=shared["index.yaml"],
            dispatch=shared["dispatch.yaml"] if uses_dispatch else None,
        ),
        # two services in one folder cause the same warnings about it
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _without_effect(services: Sequence[AppConfig]) -> Iterator[str]:
    """Yield one sentence for the services with the same settings."""
    paths: dict[tuple[str, ...], list[str]] = {}
    for config in services:
        if config.without_effect:
            paths.setdefault(config.without_effect, []).append(str(config.path))
    for names, files in paths.items():
        where = ", ".join(files)
        yield f"these settings of {where} have no effect here: {', '.join(names)}."


def _check_names(services: Sequence[AppConfig]) -> None:
    names: dict[str, Path] = {}
    for config in services:
        first = names.setdefault(config.service, config.path)
        if first != config.path:
            raise ConfigError(
                f"{first} and {config.path} are both the service '{config.service}'. "
                "Pass one of them, or name the other one, such as 'service: worker'."
            )


def with_shared_files(application: Application) -> Application:
    """Return the app with queue.yaml, cron.yaml, index.yaml and dispatch.yaml.

    Raises:
        ConfigError: this server cannot use one of them.
    """
    # one service starts sooner without this import, and the modules that it needs
    from gae_devserver.config.cron_yaml import load_cron_yaml

    files = application.files
    services = application.versions
    queues = load_queue_yaml(files.queue, services)
    cron = load_cron_yaml(files.cron, services)
    dispatch = Dispatch()
    if files.dispatch is not None:
        dispatch = load_dispatch_yaml(files.dispatch, services)
    return dataclasses.replace(
        application,
        queues=queues.queues,
        cron_jobs=cron.jobs,
        indexes=load_index_yaml(files.index),
        dispatch=dispatch.rules,
        warnings=(
            *application.warnings,
            *queues.warnings,
            *cron.warnings,
            *dispatch.warnings,
        ),
    )
