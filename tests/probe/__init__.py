"""Every method of every service, called through the SDK on both dev servers."""
