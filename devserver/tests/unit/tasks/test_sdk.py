"""The import of the SDK's task queue."""

from tests.helpers.command import run_python


def test_the_clients_of_cloud_tasks_are_not_imported() -> None:
    """The server imports only the messages; a later import still gets the client."""
    code = """
import sys
from gae_devserver.tasks import sdk
sdk.import_taskqueue()
import gae_devserver.server
assert "google.cloud.tasks_v2.types" in sys.modules
assert "google.cloud.tasks_v2.services" not in sys.modules
from google.cloud.tasks_v2 import CloudTasksClient
"""
    done = run_python("-W", "ignore", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
