"""Pages made from code say what the code says; links lead somewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from docs import acceptance, build

REPOSITORY = build.ROOT.parent
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page of the repository."""
    found: list[Path] = []
    for folder, below, files in os.walk(REPOSITORY):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return found


def anchors(page: Path) -> set[str]:
    """What can be named after ``#``: headings as GitHub writes them."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*build.PAGES, *build.DATA])
def test_a_made_page_is_current(name: str) -> None:
    made = (build.PAGES | build.DATA)[name]()
    assert (build.ROOT / name).read_text(encoding="utf-8") == made, "run make docs"


def test_every_acceptance_line_is_shown_by_a_test() -> None:
    assert set(acceptance.tests()) == set(acceptance.LINES)
    assert sorted(acceptance.LINES) == list(range(1, 93))


def test_every_link_between_pages_leads_somewhere() -> None:
    broken, count = [], 0
    for page in pages():
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in link or link.startswith("mailto:"):
                continue
            count += 1
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(REPOSITORY)}: {link}")
    assert count > 10
    assert not broken


def test_links_lead_from_the_first_page_to_every_other() -> None:
    reached, waiting = set[Path](), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        if page.is_dir():
            waiting += page.glob("*.md")
        elif page.suffix == ".md":
            links = LINK.findall(page.read_text(encoding="utf-8"))
            local = (link.partition("#")[0] for link in links if "://" not in link)
            waiting += [(page.parent / link).resolve() for link in local]
    assert not sorted(str(one.relative_to(REPOSITORY)) for one in set(pages()) - reached)
