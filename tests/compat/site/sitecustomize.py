"""Loaded by every interpreter of a suite: the suite's own server, and jobmon where asked."""

import inspect
import os

if os.environ.get("COMPAT_REDIS_PORT"):
    import redis.connection

    # What connects without a port must find the server that was started for the suite.
    for connecting in (redis.Redis, redis.connection.Connection):
        made = inspect.unwrap(connecting.__init__)
        made.__defaults__ = tuple(
            int(os.environ["COMPAT_REDIS_PORT"]) if default == 6379 else default
            for default in made.__defaults__
        )
if os.environ.get("COMPAT_JOBMON"):
    import jobmon

    jobmon.instrument()
