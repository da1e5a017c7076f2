"""Owns asking a server of jobmon's: every operation of its document, sync and async.

Called by people who build on the API (extra ``client``).
Must never import the server, the store or the history: it knows the answers' shapes alone.
"""
