"""Owns the judgement of runs: is this one normal, was one missed, does one take too long?

Called by the server and the CLI. What judges is a pure function of the runs before; what reads,
remembers and reports is beside it. Must never import server, cli or publish.
"""
