"""Tests of gae_devserver.storage."""
