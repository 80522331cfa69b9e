"""The SDK's description of dispatch.yaml, with another pattern for URLs.

The SDK's own takes minutes for a host such as
my-long-name-with-one_underscore.example.com, and accepts * inside a path.
"""

import re
from typing import Any, ClassVar

from google.appengine.api import dispatchinfo, validation, yaml_object

_NAME = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAMES = rf"(?:{_NAME}\.)*{_NAME}"
_END = "[a-z0-9-]*[a-z0-9]"
"""Of a name."""
_HOST = rf"(?:{_NAMES}|\*(?:{_END})?|\*(?:{_END})?\.{_NAMES})"
_URL = re.compile(rf"(?![0-9.]+/){_HOST}/[^*\n]*\*?")


class Url(validation.Validator):  # type: ignore[misc] # the SDK has no types
    """The pattern of a URL."""

    def Validate(self, value: Any, key: object = None) -> Any:
        """Return the value as it is."""
        if not isinstance(value, str) or not _URL.fullmatch(value):
            raise validation.ValidationError(f"not a pattern of a URL: {value!r}")
        return value


class DispatchEntry(dispatchinfo.DispatchEntry):  # type: ignore[misc] # as above
    """A rule."""

    ATTRIBUTES: ClassVar = {**dispatchinfo.DispatchEntry.ATTRIBUTES, "url": Url()}


class DispatchInfo(dispatchinfo.DispatchInfoExternal):  # type: ignore[misc] # as above
    """All rules."""

    ATTRIBUTES: ClassVar = {
        **dispatchinfo.DispatchInfoExternal.ATTRIBUTES,
        "dispatch": validation.Optional(validation.Repeated(DispatchEntry)),
    }


def parse(text: str) -> Any:
    """Return the content of dispatch.yaml as the SDK's object."""
    return yaml_object.BuildSingleObject(DispatchInfo, text)
