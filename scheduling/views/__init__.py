"""A Supplier's pages."""
