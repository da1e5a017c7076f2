"""Pages of the docs that benchmarks write, and what is said of the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs/benchmarks"
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"


def machine() -> str:
    """Processors and interpreter."""
    return f"{os.cpu_count()} × {processor()}, CPython {platform.python_version()}"


def processor() -> str:
    """The processor's model, as far as the kernel tells."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(page: Path, text: str) -> None:
    """Put what was measured between the marks of a page."""
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}")
