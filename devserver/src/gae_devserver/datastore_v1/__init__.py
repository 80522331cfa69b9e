"""The same store over gRPC, for Cloud NDB. Imports datastore, storage."""
