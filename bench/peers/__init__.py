"""What people would use instead, measured beside Sellerpulse: each in a process of the peers' own environment."""
