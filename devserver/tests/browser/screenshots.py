"""Makes the pictures of the documentation: python -m tests.browser.screenshots APP DIR.

APP is the Flask sample, which defers its three tasks. DIR gets console-*.png.
"""

import io
import sys
from pathlib import Path

import grpc
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)
from PIL import Image
from playwright.sync_api import Page

from gae_devserver.testing import DevServer, wait_until
from tests.helpers.browser import MISSING, find_browser, launched

_WIDTH = 1100
_COLORS = 256


def main(app: Path, folder: Path) -> None:
    """Make all pictures."""
    path = find_browser()
    if path is None:
        sys.exit(f"screenshots: {MISSING}")
    folder.mkdir(exist_ok=True)
    with DevServer(app, python=sys.executable) as server, launched(path) as browser:
        page = browser.new_page(viewport={"width": _WIDTH, "height": 700})
        page.goto(f"{server.state_url}/#{server.token}")
        server.get("/counter/increment")
        wait_until(lambda: server.get("/counter/get").text == "10", "the first task")
        page.locator(".timeline .done[href]").wait_for()
        _shoot(page, folder / "console-timeline.png")
        page.get_by_role("button", name="Next task").click()
        page.locator("#last-advance").wait_for()
        _add_task(server, "/reports/weekly")
        page.locator(".timeline .failed[href]").wait_for()
        for name in ("attempts", "datastore", "requests"):
            page.goto(f"{server.state_url}/{name}")
            if name == "datastore":
                page.get_by_role("link", name="Counter").first.click()
            if name == "requests":
                page.get_by_role("link", name="/counter/increment").first.click()
            page.wait_for_load_state()
            _shoot(page, folder / f"console-{name}.png")


def _add_task(server: DevServer, path: str) -> None:
    """Add a task that the app has no route for, through the API of Cloud Tasks."""
    channel = grpc.insecure_channel(server.cloud_tasks_host)
    transport = CloudTasksGrpcTransport(channel=channel)
    client = tasks_v2.CloudTasksClient(transport=transport)
    queue = client.queue_path("sample-project", "us-central1", "default")
    request = tasks_v2.AppEngineHttpRequest(relative_uri=path)
    client.create_task(
        parent=queue, task=tasks_v2.Task(app_engine_http_request=request)
    )


def _shoot(page: Page, file: Path) -> None:
    """Take a picture of the page, as high as its content, in few colors."""
    # nothing that a reader would have to explain away
    page.evaluate("document.activeElement.blur()")
    bottom = page.evaluate(
        "document.querySelector('main').getBoundingClientRect().bottom"
    )
    height = min(900, max(300, int(bottom)))
    page.set_viewport_size({"width": _WIDTH, "height": height})
    image = Image.open(io.BytesIO(page.screenshot()))
    image.convert("RGB").quantize(_COLORS, Image.Quantize.FASTOCTREE).save(
        file, optimize=True
    )
    print(f"{file}: {image.width} x {image.height}, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
