"""The metadata server, from which Google's client libraries learn where they run.

https://cloud.google.com/appengine/docs/standard/python3/accessing-instance-metadata
"""

import logging
from typing import Any

from aiohttp import web

logger = logging.getLogger("gae_devserver")

_PREFIX = "/computeMetadata/v1/"
_FLAVOR = ("Metadata-Flavor", "Google")
_NUMBER = "1"
_NO_CREDENTIALS = (
    "this dev server has no credentials for Google Cloud's APIs. To call them, run: "
    "gcloud auth application-default login. To use an emulator, set its variable, such "
    "as FIRESTORE_EMULATOR_HOST. app_identity.get_access_token always fails on a dev "
    "server: refresh the credentials of google.auth.default() instead."
)


class Metadata:
    """What App Engine says of an instance; it gives no credentials.

    So a client of Google's APIs can be made, also on import, and fails when it is used.
    """

    def __init__(self, project: str) -> None:
        account = {
            "aliases": ["default"],
            "email": f"{project}@appspot.gserviceaccount.com",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        }
        self._logged = False
        self._root: dict[str, Any] = {
            "instance": {
                "id": "1",
                "region": f"projects/{_NUMBER}/regions/local",
                "service-accounts": {"default": account, account["email"]: account},
                "zone": f"projects/{_NUMBER}/zones/local",
            },
            "project": {"numeric-project-id": _NUMBER, "project-id": project},
        }

    def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a request; None: it asks for something else."""
        name, value = _FLAVOR
        if request.headers.get(name) != value:
            return None
        if request.path == "/":
            return _text("computeMetadata/")
        if not request.path.startswith(_PREFIX):
            return None
        keys = request.path.removeprefix(_PREFIX).strip("/").split("/")
        found: Any = self._root
        for key in filter(None, keys):
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            if keys[-1] not in ("identity", "token"):
                return _text(f"There is no {request.path}.", 404)
            if not self._logged:
                # a client may retry for a minute before it fails
                logger.warning("a call of the app fails: %s", _NO_CREDENTIALS)
                self._logged = True
            return _text(_NO_CREDENTIALS, 404)
        if isinstance(found, dict) and "recursive" not in request.query:
            return _text("\n".join(found))
        if isinstance(found, dict):
            return web.json_response(found, headers=dict([_FLAVOR]))
        return _text("\n".join(found) if isinstance(found, list) else found)


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, headers=dict([_FLAVOR]))
