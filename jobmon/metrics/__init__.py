"""Owns the Prometheus families: names, help texts, labels, and how each is read from the store.

Called by the server and by whatever needs the catalogue (documentation, tests, dashboards).
Must never import instrument, server or cli; nothing in here knows HTTP.
"""
