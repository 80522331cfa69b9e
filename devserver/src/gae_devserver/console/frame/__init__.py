"""What all pages have in common. May import the server's HTTP parts."""
