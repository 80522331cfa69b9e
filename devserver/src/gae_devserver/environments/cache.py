"""Keeps the environments of apps: an unchanged requirements.txt costs nothing."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import platformdirs

from gae_devserver.app.python import Python
from gae_devserver.config import requirements
from gae_devserver.environments.installer import Installer, InstallError, OutdatedError

logger = logging.getLogger("gae_devserver.environments")
# with every --log-level: it says what the user waits for
logger.setLevel(logging.INFO)

# written last, so that an environment without it is incomplete
_COMPLETE = "gae-devserver.txt"
_SDK = "google/appengine"
_UNUSED_SECONDS = 30 * 86400
# The services of an app ask one after another at the start, and together after an edit.
_SAME_FAILURE_SECONDS = 2.0


def default_folder() -> Path:
    """Return the folder of this user's environments.

    Raises:
        OSError: the user has no home folder.
    """
    try:
        cache = platformdirs.user_cache_path("gae-devserver")
    except RuntimeError as error:
        raise OSError(error) from error
    if not cache.is_absolute():  # as an older platformdirs returns it
        raise OSError(f"{cache} is not an absolute path")
    return cache / "environments"


class Cache:
    """Environments by the content of requirements.txt and the version of Python."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        uv: str | None = None,
        unused_seconds: float = _UNUSED_SECONDS,
    ) -> None:
        """Use a folder; what no app has used for `unused_seconds` is deleted.

        `uv` is the program that installs; without it, pip does.
        """
        self._folder = folder
        self._uv = uv
        self._unused_seconds = unused_seconds
        self._locks: dict[Path, threading.Lock] = {}
        self._failures: dict[Path, tuple[float, InstallError]] = {}
        """When an environment could not be made, and why."""

    def environment(
        self,
        base: Python,
        file: Path,
        *,
        gunicorn: bool,
        before_install: Callable[[], object] = lambda: None,
    ) -> Python:
        """Return the environment for a requirements.txt; make it if it is missing.

        With `gunicorn`, it has that package even if the file does not list it. What
        `before_install` raises spares the user a useless installation. If the file
        changes during the installation, that begins again. Services with the same list
        share an installation, and its failure.

        Raises:
            InstallError: that failed; the program that failed has printed the reason.
            OSError: the folder cannot be written.
        """
        while True:
            try:
                return self._environment(base, file, gunicorn, before_install)
            except OutdatedError:
                logger.info("%s has changed; installing it again", file)

    def _environment(
        self,
        base: Python,
        file: Path,
        gunicorn: bool,
        before_install: Callable[[], object],
    ) -> Python:
        listed = requirements.content(file)
        # another release of the server may install in another way
        made_of = [metadata.version("gae-devserver"), sysconfig.get_platform()]
        made_of += [str(gunicorn), *listed]
        digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
        cache = self._folder or default_folder()
        folder = cache / "python{}.{}-{}".format(*base.version, digest)
        if not _is_complete(folder):
            cache.mkdir(parents=True, exist_ok=True)
            asked = time.monotonic()
            with (
                self._locks.setdefault(folder, threading.Lock()),
                _lock(cache / f"{folder.name}.lock"),
            ):
                failed = self._failures.get(folder)
                if failed and failed[0] > asked - _SAME_FAILURE_SECONDS:
                    raise failed[1]
                if not _is_complete(folder):  # another server may have made it
                    before_install()
                    what = f"installing {file}"
                    if not file.exists():
                        packages = "only gunicorn" if gunicorn else "no packages"
                        what = f"there is no {file}; installing {packages}"
                    logger.info("%s for %s, once: %s", what, base, _shown(folder))
                    installer = Installer(
                        base,
                        file.parent,
                        uv=self._uv,
                        is_outdated=lambda: requirements.content(file) != listed,
                    )
                    try:
                        _make(folder, installer, file, gunicorn=gunicorn)
                    except InstallError as error:
                        self._failures[folder] = (time.monotonic(), error)
                        raise
                    self._delete_unused(cache)
        os.utime(folder / _COMPLETE)
        return Python(folder / "bin" / "python", base.version)

    def _delete_unused(self, cache: Path) -> None:
        oldest = time.time() - self._unused_seconds
        for lock in cache.glob("*.lock"):
            folder = lock.with_suffix("")
            with contextlib.suppress(OSError):
                used = folder / _COMPLETE if _is_complete(folder) else lock
                if used.stat().st_mtime < oldest:
                    lock.unlink()
                    shutil.rmtree(folder)


def _shown(folder: Path) -> str:
    """Return a path as a user writes it."""
    try:
        return f"~/{folder.relative_to(Path.home())}"
    except (RuntimeError, ValueError):  # there is no home folder, or it is elsewhere
        return str(folder)


def _is_complete(folder: Path) -> bool:
    # the second is a link, which is broken once that Python is uninstalled
    return (folder / _COMPLETE).exists() and (folder / "bin" / "python").exists()


def _make(folder: Path, installer: Installer, file: Path, *, gunicorn: bool) -> None:
    if folder.exists():
        shutil.rmtree(folder)  # an interrupted installation
    try:
        installer.create(folder)
        if file.exists():
            installer.install_list(folder, file)
        if gunicorn and not (folder / "bin" / "gunicorn").exists():
            installer.install(folder, "gunicorn")
        installer.compile(folder, _SDK)
    except (InstallError, OutdatedError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _COMPLETE).write_text(f"{file.resolve()}\n")


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Hold a lock; the system releases it when this process ends."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another server is installing the same packages; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
