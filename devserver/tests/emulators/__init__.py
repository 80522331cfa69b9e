"""The same requests here and on Google's two emulators of the datastore."""
