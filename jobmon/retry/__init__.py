"""Owns running failed jobs again: claims, the pushed message, the next attempt's record, recovery.

Called by the server and the CLI; asks the history who failed and the store how far things came.
Must never import celery, rq or users' code, unpickle anything, or connect where a message says.
"""
