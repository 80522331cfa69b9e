"""Calls of images, on small pictures that the case makes."""

import base64
from typing import Any

from google.appengine.api import images

# one pixel each
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=")
RED = 0xFFFF0000
A, B = images.TOP_LEFT, images.BOTTOM_RIGHT


def size(data: bytes) -> Any:
    """Return the format and the size of a picture."""
    image = images.Image(data)
    return image.format, image.width, image.height


def canvas(width: int, height: int, color: int = RED, **options: Any) -> bytes:
    """Return a picture of one color."""
    layers = [(PNG, 0, 0, 1.0, A)]
    return images.composite(layers, width, height, color, **options)


def transformed(*steps: tuple[Any, ...], data: bytes = b"", **options: Any) -> Any:
    """Do the `steps`, each a method and its arguments, to a picture of 40 by 20."""
    image = images.Image(data or canvas(40, 20))
    for name, *arguments in steps:
        getattr(image, name)(*arguments)
    return size(image.execute_transforms(**options))


def metadata() -> Any:
    """Return the names that parsing the source adds."""
    image = images.Image(canvas(40, 20, output_encoding=images.JPEG))
    image.rotate(90)
    image.execute_transforms(parse_source_metadata=True)
    return sorted(image.get_original_metadata())


def composed(*layers: Any, width: Any = 10, height: Any = 10, **options: Any) -> Any:
    """Return the size of a composite."""
    return size(images.composite(list(layers), width, height, **options))


CASES: dict[str, Any] = {
    "Image broken": lambda: transformed(("rotate", 90), data=PNG[:40]),
    "Image gif transformed": lambda: transformed(("rotate", 90), data=GIF),
    "resize": lambda: transformed(("resize", 10, 10)),
    "resize stretch": lambda: transformed(("resize", 10, 10, False, 0.5, 0.5, True)),
    "flips": lambda: transformed(("horizontal_flip",), ("vertical_flip",)),
    "set_correct_orientation": lambda: transformed(
        ("set_correct_orientation", images.CORRECT_ORIENTATION), ("rotate", 90)
    ),
    "encode webp": lambda: transformed(("rotate", 90), output_encoding=images.WEBP),
    "quality": lambda: transformed(
        ("rotate", 90), output_encoding=images.JPEG, quality=50
    ),
    "substitution": lambda: transformed(
        ("rotate", 90), output_encoding=images.JPEG, transparent_substitution_rgb=0xFF
    ),
    "metadata": metadata,
    "histogram": lambda: [sum(part) for part in images.Image(canvas(4, 2)).histogram()],
    "histogram gif": lambda: [sum(part) for part in images.histogram(GIF)],
    "functions": lambda: [
        size(images.resize(PNG, 5, 5)),
        size(images.rotate(PNG, 180)),
        size(images.horizontal_flip(PNG)),
        size(images.vertical_flip(PNG)),
        size(images.crop(PNG, 0.0, 0.0, 1.0, 1.0)),
        size(images.im_feeling_lucky(PNG)),
    ],
    "async": lambda: [
        size(images.resize_async(PNG, 5, 5).get_result()),
        size(images.rotate_async(PNG, 180).get_result()),
        size(images.composite_async([(PNG, 0, 0, 1.0, A)], 3, 3).get_result()),
        len(images.histogram_async(PNG).get_result()),
    ],
    "composite": lambda: composed((PNG, 0, 0, 1.0, A), (GIF, 2, 2, 0.5, B)),
    "composite jpeg": lambda: composed(
        (PNG, 0, 0, 1.0, A), output_encoding=images.JPEG
    ),
    "composite garbage": lambda: composed((b"garbage", 0, 0, 1.0, A)),
    "large": lambda: transformed(("resize", 5), data=b"x" * (32 << 20)),
}

GROUPS = {"images": CASES}
