"""Owns the Redis side: key names, transitions, reads.

Called by the recorder (writing half), the server, the CLI, metrics and history (reading half).
Must never import anything of jobmon but model, settings and errors.
"""
