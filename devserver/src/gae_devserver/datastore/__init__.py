"""One store: the SDK's stub, indexes, locks, API calls. Imports storage."""
