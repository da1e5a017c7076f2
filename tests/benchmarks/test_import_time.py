"""What importing and instrumenting costs can be measured; the number is the benchmark's."""

from __future__ import annotations

from benchmarks.import_time import measure


def test_a_process_is_instrumented_and_timed() -> None:
    found = measure(2)
    assert 0 < found["least_ms"] <= found["median_ms"] <= found["most_ms"]
