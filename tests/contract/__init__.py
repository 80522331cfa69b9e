"""The behavior of the Deferred API over HTTP, for any app on any dev server."""
