"""What changes a release: one module per noun."""
