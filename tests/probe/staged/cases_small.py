"""Calls of the small services."""

from typing import Any

from google.appengine.api import (
    app_identity,
    capabilities,
    modules,
    oauth,
    runtime,
)
from google.appengine.api.background_thread import start_new_background_thread

SCOPE = "https://www.googleapis.com/auth/userinfo.email"


def sign(data: Any) -> Any:
    """Sign some bytes; return the kinds of what comes back."""
    key, signature = app_identity.sign_blob(data)
    return type(key).__name__, len(signature) > 0


def same_host(**options: Any) -> bool:
    """Return whether a hostname is the app's own."""
    return (
        modules.get_hostname(**options) == app_identity.get_default_version_hostname()
    )


GROUPS: dict[str, dict[str, Any]] = {
    "app_identity": {
        "get_service_account_name": app_identity.get_service_account_name,
        "get_default_gcs_bucket_name": app_identity.get_default_gcs_bucket_name,
        "get_public_certificates": lambda: [
            type(certificate.x509_certificate_pem).__name__
            for certificate in app_identity.get_public_certificates()
        ],
        "sign_blob": lambda: sign(b"data"),
        "sign_blob text": lambda: sign("data"),
        "sign_blob over 8 KB": lambda: sign(b"x" * 8193),
    },
    "capabilities": {
        "memcache": lambda: capabilities.CapabilitySet("memcache").is_enabled(),
        "datastore_v3 write": lambda: capabilities.CapabilitySet(
            "datastore_v3", ["write"]
        ).is_enabled(),
        "unknown": lambda: capabilities.CapabilitySet("nothing").is_enabled(),
        "empty": lambda: capabilities.CapabilitySet("").is_enabled(),
        "unicode": lambda: capabilities.CapabilitySet("grün").is_enabled(),
        "will_remain_enabled_for": lambda: capabilities.CapabilitySet(
            "mail"
        ).will_remain_enabled_for(60),
    },
    "modules": {
        "get_modules": modules.get_modules,
        "get_versions": lambda: len(modules.get_versions()),
        "get_versions of unknown": lambda: modules.get_versions("nothing"),
        "get_default_version": lambda: (
            modules.get_default_version() == modules.get_versions()[0]
        ),
        "get_num_instances": modules.get_num_instances,
        "get_num_instances of unknown": lambda: modules.get_num_instances("no"),
        "set_num_instances": lambda: modules.set_num_instances(2),
        "set_num_instances async": lambda: modules.set_num_instances_async(
            1
        ).get_result(),
        "start_version": lambda: modules.start_version("default", "nothing"),
        "start_version async": lambda: modules.start_version_async(
            "default", "nothing"
        ).get_result(),
        "stop_version own": modules.stop_version,
        "stop_version async": lambda: modules.stop_version_async(
            "no", "v1"
        ).get_result(),
        "get_hostname": same_host,
        "get_hostname of unknown": lambda: modules.get_hostname("no"),
        "get_hostname of version": lambda: modules.get_hostname("default", "no"),
        "get_hostname of instance": lambda: modules.get_hostname(instance="0"),
        "get_hostname of text": lambda: modules.get_hostname(instance="a"),
    },
    "oauth": {
        "get_current_user": lambda: oauth.get_current_user(SCOPE).email(),
        "get_current_user scopes": lambda: oauth.get_current_user([SCOPE, "x"]).email(),
        "is_current_user_admin": lambda: oauth.is_current_user_admin(SCOPE),
        "get_client_id": lambda: oauth.get_client_id(SCOPE),
        "get_authorized_scopes": lambda: oauth.get_authorized_scopes([SCOPE]),
    },
    "system": {
        "cpu_usage": lambda: type(runtime.cpu_usage().total).__name__,
        "background thread": lambda: start_new_background_thread(print, []),
        "memory_usage": lambda: runtime.memory_usage().current > 1,
    },
}
