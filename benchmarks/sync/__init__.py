"""How fast and in how much memory the store is copied into the history."""
