"""Measurements that `nox -s bench` prints for people; not a test."""
