"""Who deploys what to which hubs, when, and how it went."""
