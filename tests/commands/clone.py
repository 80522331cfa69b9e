"""A clone of this repository, and the Python with which its user runs noxfile.py."""

import pathlib
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata

from packaging.utils import canonicalize_name

from tests.commands.running import Run, Started, run
from tests.servers.staging import REPOSITORY


@dataclass(frozen=True)
class Clone:
    """A clone, and the Python that its user has."""

    folder: pathlib.Path
    python: pathlib.Path | str

    @classmethod
    def make(cls, folder: pathlib.Path, python: pathlib.Path) -> "Clone":
        """Copy what a clone of the repository holds."""
        kept = shutil.ignore_patterns(".*", "__pycache__", "docs")
        shutil.copytree(REPOSITORY, folder, symlinks=True, ignore=kept)
        return cls(folder, python)

    def copy(self, folder: pathlib.Path) -> "Clone":
        """Copy the clone with what is installed in it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Clone(folder, self.python)

    def run(self, *arguments: str, **variables: str) -> Run:
        """Run noxfile.py until it ends."""
        command = (self.python, "noxfile.py", *arguments)
        return run(*command, folder=self.folder, **variables)

    def start(self, *arguments: str, work: pathlib.Path) -> Started:
        """Start noxfile.py; its output goes to a file in `work`."""
        command = (self.python, "noxfile.py", *arguments)
        return Started(*command, work=work, folder=self.folder)

    @property
    def environments(self) -> list[pathlib.Path]:
        """The environments that hold nox."""
        return list(self.folder.glob(".nox/bootstrap-*"))

    @property
    def unfinished(self) -> list[pathlib.Path]:
        """What interrupted runs have left."""
        return list(self.folder.glob(".nox/unfinished-*"))

    @property
    def processes(self) -> list[str]:
        """The command lines of all processes that run from the clone."""
        # -ww: with no terminal, ps may cut lines off after 80 characters
        command = ["ps", "-A", "-ww", "-o", "stat=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = listed.stdout.splitlines()
        return [x for x in lines if f"{self.folder}/" in x and not x.startswith("Z")]

    def packages(self, session: str) -> dict[str, str]:
        """Return the names and releases that are installed for a session."""
        (path,) = self.folder.glob(f".nox/*/{session}/lib/*/site-packages")
        found = metadata.distributions(path=[str(path)])
        return {canonicalize_name(x.name): x.version for x in found}
