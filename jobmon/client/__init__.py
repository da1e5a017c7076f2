"""Owns asking a server of jobmon's: every operation of its document, sync and async.

Called by people who build on the API (extra ``client``).
Must never import the server, the store or the history: it knows the answers' shapes alone.
"""

from jobmon.client.async_client import AsyncClient
from jobmon.client.client import Client
from jobmon.client.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from jobmon.client.shapes import Listing

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "Forbidden",
    "Invalid",
    "Listing",
    "NotFound",
    "ServerError",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]
