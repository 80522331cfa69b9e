"""A shell or a script with the services. May import services and what is below."""
