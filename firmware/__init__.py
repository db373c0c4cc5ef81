"""What may be deployed, and when."""
