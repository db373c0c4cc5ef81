"""What comes in from outside, and what must not get out: dependencies with known weaknesses, committed secrets."""
