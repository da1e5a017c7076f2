"""The signature of a webhook's request, for who sends and for who receives.

``X-Jobmon-Signature: t=<Unix seconds>,v1=<HMAC-SHA256 in hex>``; signed is the moment, a full stop,
and the body as it was sent. Imports the standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

HEADER: Final = "X-Jobmon-Signature"
TOLERANCE_SECONDS: Final = 300.0
"""How far a receiver's clock may be from the sender's, and how old a request may be."""
_FORM: Final = re.compile("t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, at: int) -> str:
    """Value of the header.

    Args:
        secret: Of the webhook.
        body: What is posted.
        at: Unix seconds.
    """
    return f"t={at},v1={_digest(secret, body, str(at))}"


def verify(
    secret: str,
    body: bytes,
    header: str | None,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> bool:
    """Whether a request is from whoever knows the secret, and was made lately.

    Args:
        secret: Of the webhook.
        body: Of the request, byte for byte as it came.
        header: Value of ``X-Jobmon-Signature``; None: the request has none.
        tolerance_seconds: Greatest difference between its moment and now.
        now: Unix seconds instead of this machine's clock.
    """
    found = _FORM.fullmatch(header or "")
    if found is None:
        return False
    is_theirs = hmac.compare_digest(found[2], _digest(secret, body, found[1]))
    age = (time.time() if now is None else now) - int(found[1])
    return is_theirs and abs(age) <= tolerance_seconds


def _digest(secret: str, body: bytes, moment: str) -> str:
    signed = moment.encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
