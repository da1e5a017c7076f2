"""The demo's files and the work on them: Python's standard library as a text corpus."""

from __future__ import annotations

import gzip
import hashlib
import os
import sysconfig
from collections import Counter
from pathlib import Path

_PACKAGES = ("asyncio", "email", "http", "json", "logging", "multiprocessing", "unittest", "xml")


def root() -> Path:
    """Folder of the corpus."""
    return Path(sysconfig.get_path("stdlib"))


def texts() -> list[str]:
    """Names of the single files, some 160 of them."""
    return sorted(path.name for path in root().glob("*.py"))


def packages() -> list[str]:
    """Names of the folders that are compressed and reported on."""
    return [name for name in _PACKAGES if (root() / name).is_dir()]


def modules(package: str) -> list[str]:
    """Files right below a package, relative to the corpus."""
    return sorted(f"{package}/{path.name}" for path in (root() / package).glob("*.py"))


def index(name: str) -> dict[str, object]:
    """SHA-256 and word count of one file."""
    data = (root() / name).read_bytes()
    return {
        "name": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "words": len(data.split()),
        "bytes": len(data),
    }


def compress(package: str) -> dict[str, object]:
    """Gzip a package's files at the highest level into the demo's folder; gives the sizes."""
    target = output() / f"{package}.gz"
    read = 0
    with gzip.open(target, "wb", compresslevel=9) as archive:
        for path in sorted((root() / package).rglob("*.py")):
            read += archive.write(path.read_bytes())
    return {"package": package, "bytes": read, "compressed_bytes": target.stat().st_size}


def check(name: str) -> int:
    """Number of lines of a file that must be plain ASCII.

    Raises:
        UnicodeDecodeError: The file is not; some of the corpus are not.
    """
    return len((root() / name).read_bytes().decode("ascii").splitlines())


def vocabulary(name: str) -> dict[str, int]:
    """The ten most frequent identifiers of one file with their counts."""
    text = (root() / name).read_text("utf-8", "replace")
    return dict(Counter(word for word in text.split() if word.isidentifier()).most_common(10))


def output() -> Path:
    """Where results are written: the demo's temporary folder."""
    return Path(os.environ["JOBMON_DEMO_DIR"])
