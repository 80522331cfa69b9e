"""Warnings about files of App Engine near the services that the server does not use."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from gae_devserver.config import service_file
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.named_files import SHARED

DISPATCH = "dispatch.yaml"


def unused(services: Sequence[AppConfig], shared: Mapping[str, Path]) -> Iterator[str]:
    """Yield a warning for each unused file of a service, and each unused shared one.

    `shared` has the shared files that the user named.
    """
    main, *others = services
    dispatch = main.folder / DISPATCH
    if not others and DISPATCH not in shared and dispatch.exists():
        yield (
            f"{DISPATCH} is not used: all requests go to this service. To use it, pass "
            "it, and the YAML files of the services that it names."
        )
    read = {path.resolve() for service in services for path in service.files}
    named = {service.service: service.path for service in services}
    for folder in dict.fromkeys(service.folder for service in services):
        for path in service_file.services_in(folder):
            if path.resolve() in read:
                continue
            read.add(path.resolve())
            name = service_file.name_in(path)
            if not service_file.runs_here(path):
                yield f"{path} {service_file.NOT_HERE}."
            elif name in named:
                shown = path if others else path.relative_to(folder)
                yield (
                    f"{shown} is not used, because it is the service '{name}', as "
                    f"{named[name]} is. To run it instead, pass that file."
                )
            elif others:
                yield f"{path} is not used. To run this service too, pass that file."
            else:
                yield (
                    f"{path.relative_to(folder)} is not used, because this server runs "
                    f"only {main.path.name}. To run it too, pass both."
                )
    if others:
        yield from _elsewhere(main, others, SHARED - shared.keys())


def _elsewhere(
    main: AppConfig, others: Sequence[AppConfig], names: Collection[str]
) -> Iterator[str]:
    """Yield a warning for each shared file that is not beside the main service's."""
    folders = [service.folder for service in others]
    folders += [folder.parent for folder in (main.folder, *folders)]
    seen = {main.folder.resolve()}
    for folder in (*folders, Path()):
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        for name in sorted(names):
            if (path := folder / name).is_file():
                yield (
                    f"{path} is not used, because it is not beside {main.path}. To use "
                    "it, pass that file."
                )
