"""Pictures and the page."""
