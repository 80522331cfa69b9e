"""The SDK's stub of images, which current releases of Pillow break in part."""

from typing import Any
from urllib.parse import urljoin

from google.appengine.api import apiproxy_stub_map, request_info
from google.appengine.api.images.images_service_pb2 import ImagesServiceError
from google.appengine.api.images.images_stub import ImagesServiceStub
from google.appengine.runtime import apiproxy_errors
from PIL import Image, ImageChops

# The stub uses this name, which Pillow 10 removed.
Image.ANTIALIAS = Image.Resampling.LANCZOS  # type: ignore[attr-defined]
# by the orientation in Exif
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IN_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"}


class Images(ImagesServiceStub):  # type: ignore[misc]
    """Rotates whole pictures, reads broken ones, and saves colors of any kind.

    Serving URLs have the host of the request that asks for them, as upload URLs have.
    """

    def __init__(self, request_data: request_info.RequestInfo) -> None:
        super().__init__()
        self._info = request_data

    def MakeSyncCall(
        self,
        service: str,
        call: str,
        request: Any,
        response: Any,
        request_id: str | None = None,
    ) -> None:
        """Carry out a call of the request with this ticket."""
        super().MakeSyncCall(service, call, request, response, request_id)
        if call == "GetUrlBase":
            url = self._info.get_request_url(request_id)
            response.url = urljoin(url, response.url)

    def _OpenImageData(self, image_data: Any) -> Any:
        try:
            image = super()._OpenImageData(image_data)
            image.load()
        except Image.DecompressionBombError as error:
            code = ImagesServiceError.IMAGE_TOO_LARGE
            raise apiproxy_errors.ApplicationError(code, str(error)) from None
        except (OSError, SyntaxError) as error:
            code = ImagesServiceError.BAD_IMAGE_DATA
            raise apiproxy_errors.ApplicationError(code, str(error)) from None
        return image

    def _OpenBlob(self, blob_key: str) -> Any:
        # The stub's own method logs a traceback for a blob that is gone, or no image.
        blobstore = apiproxy_stub_map.apiproxy.GetStub("blobstore")
        try:
            return Image.open(blobstore.storage.OpenBlob(blob_key))
        except FileNotFoundError as error:
            code = ImagesServiceError.UNSPECIFIED_ERROR
            raise apiproxy_errors.ApplicationError(code, str(error)) from None

    def _Rotate(self, image: Any, transform: Any) -> Any:
        super()._Rotate(image, transform)  # refuses what is no multiple of 90
        return image.rotate(-transform.rotate, expand=True)

    def _CorrectOrientation(self, image: Any, orientation: int) -> Any:
        turn = _UPRIGHT.get(orientation)
        return image if turn is None else image.transpose(turn)

    def _Dynamic_Histogram(self, request: Any, response: Any) -> None:
        # The stub reads pixel by pixel, in a way that Pillow will remove.
        picture = self._OpenImageData(request.image).convert("RGBA")
        red, green, blue, alpha = picture.split()
        counts = response.histogram
        for count, band in (
            (counts.red, red),
            (counts.green, green),
            (counts.blue, blue),
        ):
            count.extend(ImageChops.multiply(band, alpha).histogram())

    def _EncodeImage(self, image: Any, *args: Any, **options: Any) -> bytes:
        if image.mode not in _IN_PNG:
            image = image.convert("RGB")
        return super()._EncodeImage(image, *args, **options)
