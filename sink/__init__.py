"""Where rows rest: the DDL, the store that writes and reads, embedded or on a server, and its in-memory twin."""
