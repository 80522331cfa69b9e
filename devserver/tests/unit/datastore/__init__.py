"""Tests of gae_devserver.datastore."""
