"""Tests of gae_devserver.mail."""
