"""Makes an environment and installs packages: with uv, or with venv and pip."""

import contextlib
import functools
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gae_devserver import terminal
from gae_devserver.app.python import Python
from gae_devserver.app.watched import Watched

logger = logging.getLogger("gae_devserver")

_STOP_SECONDS = 2.0
# how often to look whether the list has changed: the index may not answer for minutes
_POLL_SECONDS = 0.5
# newer releases lack pkg_resources, which gunicorn 20 and Pyramid import
_SETUPTOOLS = "setuptools<81"
# Their sources compile for minutes. SDK 3 needs grpcio-tools, but not to run: the
# installer takes an earlier SDK, or gevent, where the list allows one.
_NO_LONG_BUILD = [f"--only-binary={name}" for name in ("grpcio-tools", "gevent")]
# pip does not take an earlier one; uv does, and these fail with protobuf 4 and later
_CONSTRAINT = "google-cloud-datastore>=1.15.5"
_SETTINGS_OF_UV = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
# with these, the installers would install somewhere else, or nothing
_ELSEWHERE = {
    f"{installer}_{option}"
    for installer in ("PIP", "UV")
    for option in ("DRY_RUN", "PREFIX", "PYTHON", "ROOT", "TARGET")
}


class InstallError(Exception):
    """A program failed; it has printed the reason."""


class OutdatedError(Exception):
    """The list has changed, so that what was installed is not wanted any more."""


def find_uv() -> str | None:
    """Return the path of uv: in PATH, or in the server's environment."""
    beside = Path(sys.executable).parent
    return shutil.which("uv") or shutil.which("uv", path=beside)


class Installer:
    """Installs packages; what the programs print goes to the terminal.

    Every method raises OutdatedError once `is_outdated` returns True.
    """

    def __init__(
        self,
        base: Python,
        folder: Path,
        *,
        uv: str | None,
        is_outdated: Callable[[], bool],
    ) -> None:
        """Make environments with `base`; paths are relative to the app's `folder`.

        `uv` is the program; None: use venv and pip.
        """
        self._is_outdated = is_outdated
        self._base = base
        self._folder = folder
        self._uv = uv

    def create(self, environment: Path) -> None:
        """Make an environment without the app's packages.

        Raises:
            InstallError: that failed.
        """
        if self._uv:
            python = f"--python={self._base.executable}"
            try:
                self._run(
                    *self._uv_command, "venv", "--quiet", python, str(environment)
                )
            except InstallError as error:
                # such as a shim of pyenv for a version that is not selected
                logger.info("%s; trying again with venv and pip", error)
                self._uv = None
        if not self._uv:
            venv = ("-I", "-m", "venv", "--clear", str(environment))
            self._run(str(self._base.executable), *venv)
        self.install(environment, "pip", _SETUPTOOLS, "wheel", quiet=True)

    def install_list(self, environment: Path, file: Path) -> None:
        """Install a requirements.txt, or the dependencies of a pyproject.toml.

        Raises:
            InstallError: that failed.
        """
        is_list = file.suffix == ".txt" or self._uv
        what = f"--requirement={file.name}" if is_list else "."
        first = environment / "constraints.txt"
        first.write_text(f"{_CONSTRAINT}\n")
        try:
            self.install(environment, what, *_NO_LONG_BUILD, f"--constraint={first}")
        except InstallError as error:
            if file.suffix != ".txt":
                raise
            logger.info(
                "%s; trying again as App Engine does, with pip and no constraints",
                error,
            )
            # sources of old packages need these to be built
            constraints = environment / "build-constraints.txt"
            constraints.write_text(f"{_SETUPTOOLS}\n")
            pip = self._pip_install(environment)
            self._run(*pip, "--retries=1", what, PIP_BUILD_CONSTRAINT=str(constraints))

    def install(self, environment: Path, *arguments: str, quiet: bool = False) -> None:
        """Install what the arguments say, as for `pip install`.

        Raises:
            InstallError: that failed.
        """
        if self._uv:
            python = f"--python={environment / 'bin' / 'python'}"
            command = [*self._uv_command, "pip", "install", python]
        else:
            command = self._pip_install(environment)
        self._run(*command, *(["--quiet"] if quiet else []), *arguments)

    @property
    def _uv_command(self) -> list[str]:
        # pip does not apply [tool.uv] in the app's pyproject.toml either
        return [self._uv, f"--project={os.sep}"] if self._uv else []

    def _pip_install(self, environment: Path) -> list[str]:
        # -I: pip installs nothing that it finds in PYTHONPATH
        python = [str(environment / "bin" / "python"), "-I"]
        pip = [*python, "-m", "pip", "install", "--no-user", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--progress-bar=off"]

    def compile(self, environment: Path, package: str) -> None:
        """Compile a package now; its warnings would appear when the app imports it.

        Raises:
            InstallError: that failed.
        """
        python = str(environment / "bin" / "python")
        for folder in environment.glob(f"lib/*/*/{package}"):
            compile_all = ("-I", "-W", "ignore", "-m", "compileall", "-q")
            self._run(python, *compile_all, str(folder))

    def _run(self, *command: str, **more: str) -> None:
        variables = os.environ | more
        variables = {k: v for k, v in variables.items() if k not in _ELSEWHERE}
        if command[0] == self._uv:
            variables = self._uv_settings | variables
        try:
            # it ends with the server, so that no half-made environment grows later
            watched = Watched(
                shlex.join(command),
                folder=self._folder,
                environment=variables,
                stop_seconds=_STOP_SECONDS,
                output=(sys.stdout if terminal.is_json() else sys.stderr).fileno(),
            )
        except OSError as error:
            raise InstallError(f"{command[0]} cannot be started: {error}") from error
        status = None
        try:
            while status is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = watched.wait(_POLL_SECONDS)
                if self._is_outdated():
                    raise OutdatedError
        finally:
            watched.stop()
            watched.process.wait()
        if status:
            is_module = "-m" in command
            name = command[command.index("-m") + 1] if is_module else command[0]
            raise InstallError(f"{Path(name).name} ended with status {status}")

    @functools.cached_property
    def _uv_settings(self) -> dict[str, str]:
        """The variables that make uv do as pip does, with its index and certificates.

        In a company with its own index or certificates, pip is often configured for
        them, and uv is not.
        """
        settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "true"}
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            # as pip does: otherwise each start of the app would compile all it imports
            settings["UV_COMPILE_BYTECODE"] = "true"
        pip = [str(self._base.executable), "-I", "-m", "pip", "config", "list"]
        listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
        # Lines such as global.index-url='https://...'. Those that begin with :env: come
        # from variables and override those from files.
        for line in sorted(listed.splitlines(), reverse=True):
            option, _, value = line.partition("=")
            if variable := _SETTINGS_OF_UV.get(option.rpartition(".")[2]):
                settings[variable] = value.strip("'")
        return settings
