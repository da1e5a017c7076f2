"""How fast and in how much memory all commands are evaluated, and those that are new."""
