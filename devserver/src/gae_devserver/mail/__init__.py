"""Mail that the app sends and receives. Imports storage, app, config, clock."""
