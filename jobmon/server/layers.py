"""The layers that the setting ``middleware`` asks for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, cast

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from jobmon.server.auth import Authentication
from jobmon.server.limits import RateLimit
from jobmon.server.meter import Meter
from jobmon.server.origins import Cors
from jobmon.server.schemes import Basic, BearerTokens, ProxyHeader, Scheme
from jobmon.settings import Settings, SettingsError

_API: Final = "api"
_TOKEN: Final = "auth:token"  # noqa: S105 name of a layer
_BASIC: Final = "auth:basic"
_PROXY: Final = "auth:proxy"
_SCHEMES: Final = (_TOKEN, _BASIC, _PROXY)
_AUTH: Final = "auth:"


def is_guarded(settings: Settings) -> bool:
    """Whether anything of ``middleware`` can tell who sends a request."""
    return bool(_usable(settings)) or any(map(_authenticates, settings.middleware))


def layers(settings: Settings, meter: Meter | None) -> list[Middleware]:
    """Pages of other sites, then those of ``middleware``, outermost first.

    All ways to authenticate are one layer, where the last of them stands, or else innermost. The
    rate limit follows wherever it stands, for it must know who asks.

    Args:
        settings: All of them.
        meter: Counts failures to authenticate, and requests if the settings ask for it; None:
            nothing is limited.

    Raises:
        SettingsError: ``middleware`` and ``auth`` contradict each other, or a layer cannot be
            imported.
    """
    _refuse_contradictions(settings)
    names = [name for name in settings.middleware if name != _API]
    ways = [place for place, name in enumerate(names) if name.startswith(_AUTH)]
    last = ways[-1] + 1 if ways else len(names)
    own = Middleware(
        Authentication,
        settings=settings,
        schemes=_schemes(settings),
        meter=meter,
        required=is_guarded(settings),
    )
    found = [*_own(names[:last]), own]
    if meter is not None and settings.rate_limiting.enabled and _API in settings.middleware:
        found.append(Middleware(RateLimit, settings=settings, meter=meter))
    found += _own(names[last:])
    if settings.cors.origins:
        found.insert(0, Middleware(Cors, origins=settings.cors.origins))
    return found


def _usable(settings: Settings) -> list[str]:
    """Names of the ways to authenticate that somebody can use, in the order of ``middleware``."""
    auth = settings.auth
    given = {_TOKEN: auth.tokens, _BASIC: auth.basic, _PROXY: auth.proxy_header}
    return [name for name in settings.middleware if given.get(name)]


def _schemes(settings: Settings) -> list[Scheme]:
    auth = settings.auth
    make: dict[str, Callable[[], Scheme]] = {
        _TOKEN: lambda: BearerTokens(auth.tokens),
        _BASIC: lambda: Basic(auth.basic),
        _PROXY: lambda: ProxyHeader(auth.proxy_header or "", auth.proxy_scope),
    }
    return [make[name]() for name in _usable(settings)]


def _refuse_contradictions(settings: Settings) -> None:
    """What is configured must be asked for, and the other way round, but for the default."""
    auth, asked = settings.auth, settings.middleware
    problems: list[str] = []
    for key, value, name in (
        ("auth.tokens", auth.tokens, _TOKEN),
        ("auth.basic", auth.basic, _BASIC),
        ("auth.proxy_header", auth.proxy_header, _PROXY),
    ):
        if value and name not in asked:
            problems.append(f"middleware: {key} is set, so it must hold {name}")
        elif name in asked and not value and name != _TOKEN:
            problems.append(f"{key}: middleware holds {name}, so it must be set")
    if _PROXY in asked and not settings.trusted_proxies:
        problems.append(f"trusted_proxies: middleware holds {_PROXY}, so it must name the proxy")
    if problems:
        raise SettingsError(problems)


def _authenticates(name: str) -> bool:
    """Whether a layer of somebody else says who sends a request: ``auth:module:Class``."""
    return name.startswith(_AUTH) and name not in _SCHEMES


def _own(names: list[str]) -> list[Middleware]:
    """Layers of somebody else."""
    return [
        Middleware(_imported(name.removeprefix(_AUTH))) for name in names if name not in _SCHEMES
    ]


def _imported(name: str) -> Callable[[ASGIApp], ASGIApp]:
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        problem = f"middleware: {name} cannot be imported: {error}"
        raise SettingsError([problem]) from error
    if not callable(found):
        raise SettingsError([f"middleware: {name} is not callable"])
    return cast("Callable[[ASGIApp], ASGIApp]", found)
