"""Owns the way of anomalies to whoever wants to know: handlers, a stream, webhooks.

Called by the server and the CLI. Must never import server or cli.
"""
