"""The Deferred API's behaviour over HTTP, for any app on any dev server."""
