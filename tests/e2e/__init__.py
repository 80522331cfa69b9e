"""The part of the contract that needs nothing of a server but its address."""
