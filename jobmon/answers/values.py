"""Kinds of values in answers: how each is written, and how it is described."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Final, TypeAlias, cast

from pydantic import ConfigDict, Field, PlainSerializer

_DEEPEST: Final = 32
"""Levels of what users wrote; a recorder writes fewer."""
_TRUNCATED: Final = "[truncated]"


class Answer:
    """Root of the dataclasses that are written as JSON objects: no member but the declared."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def _rounded(digits: int) -> PlainSerializer:
    def rounded(value: float) -> float:
        return round(value, digits) if math.isfinite(value) else 0.0

    return PlainSerializer(rounded, return_type=float)


def _plain(value: object) -> object:
    """What users wrote, as JSON can hold it: no NaN, no infinity, and an end to its depth."""
    return _cut(value, _DEEPEST)


def _cut(value: object, levels: int) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else 0
    if not isinstance(value, dict | list | tuple):
        return value
    if not levels:
        return _TRUNCATED
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        return {name: _cut(one, levels - 1) for name, one in members}
    return [_cut(one, levels - 1) for one in cast("list[object]", value)]


Number: TypeAlias = Annotated[float, _rounded(2)]
"""Rounded to two decimals where it is written; what cannot be written is 0."""
Exact: TypeAlias = Annotated[float, _rounded(4)]
"""The same with four decimals."""
Instant: TypeAlias = Annotated[
    str, Field(json_schema_extra={"format": "date-time", "examples": ["2025-08-03T12:00:00Z"]})
]
DateTime: TypeAlias = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", examples=["2025-08-03 12:00:00"])
]
"""In UTC."""
Date: TypeAlias = Annotated[
    str, Field(json_schema_extra={"format": "date", "examples": ["2025-08-03"]})
]
"""In UTC."""
JsonObject: TypeAlias = Annotated[dict[str, Any], PlainSerializer(_plain)]
"""What users wrote, redacted where it was recorded."""
