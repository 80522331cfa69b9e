"""Users of the app: the login page, sessions, and `login` of app.yaml."""
