"""The face that ``opentelemetry-instrument`` knows; the only module to import that package."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from jobmon.instrument.guard import guarded


class JobmonInstrumentor(BaseInstrumentor):
    """``jobmon.instrument()`` for those who load all instrumentations in one way.

    ``instrument(tracer_provider=...)`` names the provider that makes the spans, else it is the
    process's own. All other settings come from the environment and files.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: each library is hooked when it is imported, in whatever version."""
        return ()

    @guarded  # what is raised here ends the user's program before it began
    def _instrument(self, **kwargs: Any) -> None:
        from jobmon.instrument import install, spans

        spans.use(kwargs.get("tracer_provider"))
        install.instrument()

    @guarded
    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002
        from jobmon.instrument import install, spans

        install.uninstrument()
        spans.use(None)
