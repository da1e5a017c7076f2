"""Owns the demo: real commands, workers and a store on one machine, started and stopped as one.

Called by the CLI and the tests; uses jobmon only through its public face and the command line.
Must never be imported by anything else in jobmon.
"""
