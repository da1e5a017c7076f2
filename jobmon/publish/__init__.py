"""Owns the way of anomalies to whoever wants to know: handlers, the stream, webhooks, listeners.

Called by the server's work, the CLI and users' scripts.
Must never import server or cli; what listens imports redis and the standard library alone.
"""
