"""What travels in the wheel, and how it comes out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobmon.cli import shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, as an installer lays it out."""
    built, unpacked = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("unpacked")
    said = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
            *("--no-index", "--disable-pip-version-check", "--wheel-dir", str(built), str(ROOT)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    (wheel,) = built.glob("jobmon-*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(unpacked)
    return unpacked


def jobmon(package: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["alerts", "grafana/dashboards", "grafana/provisioning"])
def test_the_wheel_has_every_file_of_the_folders_that_ship(unpacked: Path, name: str) -> None:
    kept = files(ROOT / name)
    assert kept
    assert files(unpacked / "jobmon/_shipped" / name) == kept


def test_the_wheel_has_nothing_that_is_used_at_build_time_alone(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"} == {"jobmon"}
    assert not list((unpacked / "jobmon/_shipped/grafana").rglob("*.py"))


def test_dashboards_come_out_of_an_installed_wheel_as_they_went_in(
    unpacked: Path, tmp_path: Path
) -> None:
    said = jobmon(unpacked, "dashboards", "export", "out/of/it", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    kept = ROOT / "grafana/dashboards"
    assert files(tmp_path / "out/of/it") == files(kept)
    for name in files(kept):
        assert (tmp_path / "out/of/it" / name).read_bytes() == (kept / name).read_bytes()
        assert f"wrote out/of/it/{name}" in said.stdout


def test_a_checkout_finds_its_own_folders() -> None:
    assert shipped.folder("grafana") == ROOT / "grafana"
    assert shipped.folder("alerts") == ROOT / "alerts"


def test_a_folder_that_did_not_come_along_is_named() -> None:
    with pytest.raises(shipped.ShippedError, match="has no folder gone: install a wheel"):
        shipped.folder("gone")


def test_a_second_export_touches_nothing(tmp_path: Path) -> None:
    jobmon(ROOT, "dashboards", "export", ".", cwd=tmp_path)
    before = {path: path.stat() for path in tmp_path.iterdir()}
    said = jobmon(ROOT, "dashboards", "export", ".", cwd=tmp_path)
    assert said.returncode == 0
    assert len(before) > 0
    assert {path: path.stat() for path in tmp_path.iterdir()} == before
    assert said.stdout.count("unchanged ") == len(before)


def test_what_was_changed_is_written_anew_and_nothing_else(tmp_path: Path) -> None:
    jobmon(ROOT, "dashboards", "export", ".", cwd=tmp_path)
    (tmp_path / "overview.json").write_text("{}")
    said = jobmon(ROOT, "dashboards", "export", ".", cwd=tmp_path)
    assert [line for line in said.stdout.splitlines() if line.startswith("wrote")] == [
        "wrote overview.json"
    ]
    kept = ROOT / "grafana/dashboards/overview.json"
    assert (tmp_path / "overview.json").read_bytes() == kept.read_bytes()


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "overview.json").mkdir()  # not even root writes a file over a folder
    (tmp_path / "overview.json/kept").touch()
    said = jobmon(ROOT, "dashboards", "export", ".", cwd=tmp_path)
    assert said.returncode == 1
    assert "jobmon dashboards: cannot write overview.json: " in said.stderr
    assert "Traceback" not in said.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_datasource_that_was_chosen_is_the_one_they_start_with(tmp_path: Path) -> None:
    said = jobmon(ROOT, "dashboards", "export", ".", "--datasource", "my-prometheus", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    for path in tmp_path.iterdir():
        dashboard = json.loads(path.read_text())
        kept = json.loads((ROOT / "grafana/dashboards" / path.name).read_text())
        (chosen,) = [one for one in dashboard["templating"]["list"] if one["name"] == "datasource"]
        assert chosen["current"]["value"] == "my-prometheus"
        del chosen["current"]  # without it, Grafana takes its default
        assert dashboard == kept  # and nothing else differs
