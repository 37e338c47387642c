"""Events in over HTTP, for whoever has a key."""
