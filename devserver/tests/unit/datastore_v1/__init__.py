"""Tests of gae_devserver.datastore_v1."""
