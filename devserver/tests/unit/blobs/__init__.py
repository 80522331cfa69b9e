"""Unit tests of gae_devserver.blobs."""
