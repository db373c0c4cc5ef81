"""What is done to slots, selections, bookings, deployments and notices; each owns its transactions."""
