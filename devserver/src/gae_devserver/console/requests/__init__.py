"""Pages on requests, with their API calls."""
