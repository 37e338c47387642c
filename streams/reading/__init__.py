"""What a database tells about accounts: read by commands and by the page, which only differ in how they show it."""
