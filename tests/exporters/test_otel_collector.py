"""The collector's configuration: complete, and every word of it is one that the collector knows."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from jobmon.instrument import span_attributes

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load(
    (ROOT / "exporters/otel-collector/collector.yaml").read_text()
)
PIPELINES: dict[str, dict[str, list[str]]] = CONFIG["service"]["pipelines"]
DURATION: Final = r"\d+(ms|s|m|h)"
ENDPOINT: Final = r"[\w.-]+:\d+"
ANYTHING: Final = r".+"
CONDITION: Final = r'attributes\["[\w.]+"\] [!=]= nil'

KNOWN: Final[dict[str, Any]] = {
    "extensions": {"health_check": {"endpoint": ENDPOINT}},
    "receivers": {
        "otlp": {"protocols": {"http": {"endpoint": ENDPOINT}, "grpc": {"endpoint": ENDPOINT}}}
    },
    "processors": {
        "memory_limiter": {
            "check_interval": DURATION,
            "limit_percentage": int,
            "spike_limit_percentage": int,
        },
        "filter": {"error_mode": "ignore|silent|propagate", "traces": {"span": [CONDITION]}},
        "tail_sampling": {
            "decision_wait": DURATION,
            "num_traces": int,
            "decision_cache": {"sampled_cache_size": int},
            "policies": [{"name": ANYTHING, "type": ANYTHING, "*": ANYTHING}],
        },
        "batch": {"timeout": DURATION, "send_batch_size": int},
    },
    "exporters": {
        "otlp": {
            "endpoint": ENDPOINT,
            "tls": {"insecure": bool},
            "sending_queue": {"queue_size": int},
            "retry_on_failure": {"max_elapsed_time": DURATION},
        }
    },
}
"""As the components' own documentation has them, as far as they are used."""
POLICIES: Final[dict[str, Any]] = {
    "status_code": {"status_codes": ["OK|ERROR|UNSET"]},
    "latency": {"threshold_ms": int},
    "probabilistic": {"sampling_percentage": int},
}


def check(given: Any, known: Any, where: str) -> None:
    """Fail unless it consists of what is known."""
    if isinstance(known, dict):
        assert isinstance(given, dict), where
        for key, value in given.items():
            assert key in known or "*" in known, f"{where}.{key}"
            if key in known:
                check(value, known[key], f"{where}.{key}")
    elif isinstance(known, list):
        assert isinstance(given, list), where
        assert given, where
        for number, one in enumerate(given):
            check(one, known[0], f"{where}[{number}]")
    elif isinstance(known, type):
        assert type(given) is known, where
    else:
        assert isinstance(given, str), where
        assert re.fullmatch(known, given), where


def kind(component: str) -> str:
    return component.partition("/")[0]


@pytest.mark.parametrize("section", KNOWN)
def test_every_component_is_one_with_its_own_keys(section: str) -> None:
    for name, settings in CONFIG[section].items():
        assert kind(name) in KNOWN[section]
        check(settings, KNOWN[section][kind(name)], f"{section}.{name}")


def test_there_is_nothing_else() -> None:
    assert set(CONFIG) == {*KNOWN, "service"}
    assert set(CONFIG["service"]) == {"extensions", "pipelines"}


def test_what_is_used_is_defined_and_what_is_defined_is_used() -> None:
    for section in ("receivers", "processors", "exporters"):
        used = {name for pipeline in PIPELINES.values() for name in pipeline[section]}
        assert used == set(CONFIG[section])
    assert set(CONFIG["service"]["extensions"]) == set(CONFIG["extensions"])
    for name, pipeline in PIPELINES.items():
        assert kind(name) == "traces"
        assert set(pipeline) == {"receivers", "processors", "exporters"}
        assert pipeline["processors"][0] == "memory_limiter"
        assert pipeline["processors"][-1] == "batch"


@pytest.mark.parametrize(
    "policy", CONFIG["processors"]["tail_sampling"]["policies"], ids=lambda one: one["name"]
)
def test_every_policy_has_the_settings_of_its_type(policy: dict[str, Any]) -> None:
    assert set(policy) == {"name", "type", policy["type"]}
    check(policy[policy["type"]], POLICIES[policy["type"]], policy["name"])


def test_a_span_goes_one_way_and_a_command_goes_past_the_sampling() -> None:
    kept, sampled = PIPELINES["traces/commands"], PIPELINES["traces/others"]
    assert "tail_sampling" not in kept["processors"]
    assert sampled["processors"].index("tail_sampling") < sampled["processors"].index(
        "filter/others"
    )
    (drops_others,) = CONFIG["processors"]["filter/commands"]["traces"]["span"]
    (drops_commands,) = CONFIG["processors"]["filter/others"]["traces"]["span"]
    assert drops_others.replace("==", "!=") == drops_commands


def test_the_attribute_that_tells_a_command_is_one_of_its_span_and_of_no_jobs() -> None:
    named = set(re.findall(r'attributes\["([^"]+)"\]', str(CONFIG["processors"])))
    assert named == {"jobmon.command.kind"}
    assert named < set(span_attributes.of_command("nightly", "script", "run"))
    assert "command.kind" not in inspect.getsource(span_attributes.of_job)
