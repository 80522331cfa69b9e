"""Tests of gae_devserver.config."""
