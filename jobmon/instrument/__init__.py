"""Owns the hooks in the users' processes: what they publish, start and end becomes transitions.

Called by users and by the engines' own hooks; writes through the recorder.
Must never import metrics, history, analysis, server, cli, or any engine before the user did.
"""
