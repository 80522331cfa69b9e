"""API calls: the SDK's stubs and the API server. Imports tasks and all below."""
