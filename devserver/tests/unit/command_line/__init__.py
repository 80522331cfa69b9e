"""Tests of gae_devserver.command_line."""
