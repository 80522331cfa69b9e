"""One module at a time, in this process: no server and no app is started."""
