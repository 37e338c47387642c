"""What crosses a boundary: Avro schemas, event types, the codec, the error tree. Imports nothing of ours."""
