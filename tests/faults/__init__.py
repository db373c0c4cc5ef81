"""Processes that die, servers that stop: afterwards every deployment has ended, and ended rightly."""
