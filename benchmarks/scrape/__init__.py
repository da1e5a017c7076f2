"""Time and bytes of a scrape."""
