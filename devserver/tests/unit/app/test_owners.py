"""Which services restart after an edit."""

from pathlib import Path

import pytest

from gae_devserver.app.owners import Sources, by_owner


def sources(root: str, *others: str, settings: str) -> Sources:
    """Return a service's folder, other folders that it links to, and its YAML file."""
    folders = [Path(folder) for folder in (root, *others)]
    return Sources(folders[0], folders, [Path(settings)])


@pytest.mark.parametrize(
    ("file", "owners"),
    [
        ("/app/main.py", "default twin"),
        ("/app/lib/util.py", "default twin"),
        ("/app/app.yaml", "default"),
        ("/app/twin.yaml", "twin"),
        ("/app/worker/main.py", "worker"),
        ("/app/worker/worker.yaml", "worker"),
        ("/app/worker/linked/a.py", "worker default"),
        ("/shared/a.py", "default worker"),
        ("/apple/main.py", ""),
        ("/queue.yaml", ""),
    ],
)
def test_the_owners_of_a_file(file: str, owners: str) -> None:
    """A file is of the innermost service around it, and of all that link to it."""
    services = {
        "default": sources(
            "/app", "/shared", "/app/worker/linked", settings="/app/app.yaml"
        ),
        "twin": sources("/app", settings="/app/twin.yaml"),
        "worker": sources("/app/worker", "/shared", settings="/app/worker/worker.yaml"),
    }
    expected = {name: {Path(file)} for name in owners.split()}
    assert by_owner([Path(file)], services) == expected
