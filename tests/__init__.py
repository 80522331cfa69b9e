"""What the samples promise, and the commands; devserver/tests has the dev server's."""
