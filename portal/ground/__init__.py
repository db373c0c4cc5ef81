"""What every app stands on: the database's time, the audit, UK local time."""
