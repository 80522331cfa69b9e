"""Tests of Cloud Tasks: what it accepts, and what it sends."""
