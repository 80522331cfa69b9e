"""Tests of gae_devserver.rpc."""
