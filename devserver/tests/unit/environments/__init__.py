"""Tests of the app's environment that install nothing."""
