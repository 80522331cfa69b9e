"""Attacks on the apps from outside."""
