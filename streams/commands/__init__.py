"""What a person types: one file a command, `cli` finds them."""
