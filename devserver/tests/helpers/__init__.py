"""What several of these tests need, one job a module."""
