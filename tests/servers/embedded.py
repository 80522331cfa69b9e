"""The embedded dev server, one of the servers that the tests can choose."""

import pathlib
import sys

from gae_devserver.testing import DevServer

from tests.servers import base


class Embedded(DevServer, base.Server):
    """`gae-devserver` with one app on it."""

    name = "embedded"

    def __init__(
        self,
        app: pathlib.Path,
        work: pathlib.Path,
        *options: str,
        log: str = "embedded.log",
        reload: bool = False,
    ) -> None:
        """Start the server for the folder `app`, with options of its command line.

        Its log goes to a file in `work`. With `reload`, the app restarts when one of
        its files changes.
        """
        super().__init__(
            app,
            *options,
            log_file=work / log,
            python=sys.executable,
            reload=reload,
        )
