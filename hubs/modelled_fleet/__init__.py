"""A stand-in for the carriers and their hubs, behind the same gateway."""
