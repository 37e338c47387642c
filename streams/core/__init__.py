"""Pure: facts in, rows out. No clock, environment, logging, Kafka or ClickHouse here."""
