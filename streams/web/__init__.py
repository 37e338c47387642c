"""What a worker shows over HTTP."""
