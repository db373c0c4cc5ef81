"""The fleet of Communications Hubs, and the door to it."""
