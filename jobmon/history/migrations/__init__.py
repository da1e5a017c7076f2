"""Owns how the tables came to be what they are: one module of `versions` per step, in order.

Called by `jobmon.history.migrate` through Alembic. A step that was released never changes, so
none uses the tables of `jobmon.history.schema`, which tells only how things are now.
"""
