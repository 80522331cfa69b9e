"""Apps for these tests, each in a folder of its own."""
