"""Pictures of the portal: those of the guides, and every page at every width. Run by `manage.py screenshots`."""
