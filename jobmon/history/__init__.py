"""Owns the SQL side: the tables, their migrations, and the way to a database.

Called by the server and the CLI; reads the store to copy it.
Must never be imported by the store, the metrics or the users' processes; imports no HTTP.
"""
