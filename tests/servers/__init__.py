"""Start an app on a dev server and drive its queues, whichever server it is."""
