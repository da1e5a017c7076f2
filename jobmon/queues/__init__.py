"""Owns brokers: how one is reached, and how many jobs its queues hold, by state.

Called by the server, which polls them; the way to a broker also by the package that retries.
Must never import celery, rq or users' code, unpickle anything, or call what cleans up.
"""
