"""What must stay closed to anything from outside."""
