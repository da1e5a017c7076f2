"""``jobmon.asgi:app``, for a server such as uvicorn or gunicorn in the place of ``jobmon serve``.

Owns nothing: it is :func:`jobmon.server.create_app` with the settings and logs of the environment.
Called by the ASGI server that is given its name.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    app: Starlette


def __getattr__(name: str) -> Starlette:
    """Make the application when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _app()


@cache
def _app() -> Starlette:
    from jobmon import settings as configuration
    from jobmon.server import create_app, logs

    settings = configuration.load()
    logs.configure(settings)
    return create_app(settings)
