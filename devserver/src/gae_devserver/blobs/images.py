"""The page `/_ah/img`: serves images of blobs, in the size that the URL asks for."""

import asyncio
import io
import re
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web
from google.appengine.api import datastore, datastore_errors
from multidict import CIMultiDict

from gae_devserver.blobs.serving import BlobSender
from gae_devserver.blobs.stub import Blobstore

_PATH = re.compile(r"/_ah/img/([-\w:]+=*?)(?:=(?=[-\w])([-\w]+))?")
_OPTIONS = re.compile(r"s(\d{1,9})(-c)?")
# the kind of the images stub, whose import takes long
_SERVED = "__BlobServingUrl__"
_MAX_SIZE = 1600
# formats that stay without loss; all others become JPEG
_LOSSLESS = frozenset(["GIF", "PNG"])


class ImagePage:
    """Answers requests to the URLs that `images.get_serving_url` returns."""

    def __init__(self, stub: Callable[[], Blobstore], sender: BlobSender) -> None:
        """Serve blobs of the stub that `stub` returns."""
        self._stub = stub
        self._sender = sender

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the image.

        Raises:
            web.HTTPException: there is no such image.
        """
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            text = "Method not allowed.\n"
            return web.Response(status=405, text=text, headers={"Allow": "GET, HEAD"})
        match = _PATH.fullmatch(request.path)
        key = match[1] if match else ""
        if match is None or not _is_served(key):
            text = "There is no such image. Call images.get_serving_url for its blob.\n"
            raise web.HTTPNotFound(text=text)
        if self._stub().contents.size(key) is None:
            text = (
                "This server does not have the blob of this image. Upload it here; "
                "objects in Cloud Storage are not read.\n"
            )
            raise web.HTTPNotFound(text=text)
        # like Google's dev server, without those options that do not begin with a size
        options = _OPTIONS.match(match[2] or "")
        if options is None:
            wanted = request.headers.get(hdrs.RANGE)
            return self._sender.send(request, key, CIMultiDict(), wanted)
        size, crop = int(options[1]), options[2] is not None
        if size > _MAX_SIZE:
            text = f"The size {size} is more than the limit, {_MAX_SIZE}.\n"
            raise web.HTTPBadRequest(text=text)
        content, mime_type = await asyncio.to_thread(
            _transformed, self._stub().storage.OpenBlob, key, size, crop
        )
        headers = {
            hdrs.CONTENT_TYPE: mime_type,
            hdrs.CACHE_CONTROL: "public, max-age=600, no-transform",
        }
        return web.Response(body=content, headers=headers)


def _is_served(key: str) -> bool:
    try:
        datastore.Get(datastore.Key.from_path(_SERVED, key, namespace=""))
    except datastore_errors.Error:
        return False
    return True


def _transformed(
    open_blob: Callable[[str], Any], key: str, size: int, crop: bool
) -> tuple[bytes, str]:
    """Return an image whose longer side has `size` pixels, and its type; 0: as it is.

    Raises:
        web.HTTPException: the blob is no image, or is gone.
    """
    from PIL import Image  # its import takes long

    try:
        with open_blob(key) as file, Image.open(file) as image:
            changed = image.crop(_square(*image.size)) if crop else image.copy()
            if changed.mode in {"P", "1"}:
                changed = changed.convert("RGBA")
            if size:
                width, height = changed.size
                scale = size / max(width, height)
                changed = changed.resize(
                    (max(1, int(width * scale)), max(1, int(height * scale))),
                    Image.Resampling.LANCZOS,
                )
            output = io.BytesIO()
            if image.format in _LOSSLESS:
                changed.save(output, "PNG")
                return output.getvalue(), "image/png"
            changed.convert("RGB").save(output, "JPEG")
            return output.getvalue(), "image/jpeg"
    except FileNotFoundError:
        raise web.HTTPNotFound(text="The blob of this image was deleted.\n") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = f"The blob is not an image that can be served: {error}.\n"
        raise web.HTTPBadRequest(text=text) from None


def _square(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the middle of an image; of a portrait a higher part, where the face is."""
    side = min(width, height)
    left = (width - side) // 2
    top = max(0, (height - side) // 2 - height // 4)
    return left, top, left + side, top + side
