"""Files, reports and requests in, events out: typed, masked, and each with its original bytes."""
