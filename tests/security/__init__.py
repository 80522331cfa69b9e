"""What nobody from outside may do."""
