"""Owns the shape of every answer: one plain dataclass per JSON object, one file per noun.

Built by the server's handlers, described by its document, read by the client.
Must never import handlers, the store or the history; docstrings are the document's text.
"""
