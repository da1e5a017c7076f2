"""A Django project, which knows nothing of jobmon."""
