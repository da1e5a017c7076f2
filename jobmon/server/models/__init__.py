"""Owns the shape of every answer: one plain dataclass per JSON object, one file per noun.

Built by handlers, written by dispatch, described by openapi, where docstrings are the text.
Must never import handlers, the store or the history.
"""
