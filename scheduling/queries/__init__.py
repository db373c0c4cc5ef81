"""Questions about slots, bookings and deployments; nothing here changes anything."""
