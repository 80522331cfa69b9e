"""Count while everything fails that can: nothing is lost, nothing counts twice."""
