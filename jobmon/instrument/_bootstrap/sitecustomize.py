"""Instruments the Python programs that ``jobmon run`` and RQ's SpawnWorker start.

Their ``PYTHONPATH`` begins with this folder, so the interpreter imports this at its start. It
runs in interpreters of any age, with and without jobmon: it must parse in all of them, cost
nothing until a library that jobmon hooks is imported, say nothing, and change nothing else.
"""

# pyright: basic
import os
import sys

_HOOKED = ("celery", "rq", "click", "typer", "django")
_LENT = (
    "jobmon",
    "redis",
    "typing_extensions",
    "importlib_metadata",
    "zipp",
    "deprecated",
    "wrapt",
    "async_timeout",
)
# Of a package that several distributions share, only what the API's distribution holds: a
# library that asks for the SDK must not find the runner's.
_SHARED = "opentelemetry"
_LENT_OF_SHARED = (
    "_events",
    "_logs",
    "attributes",
    "baggage",
    "context",
    "environment_variables",
    "metrics",
    "propagate",
    "propagators",
    "trace",
    "util",
    "version",
)
_LENT_METADATA = "opentelemetry-api"
_HERE = os.path.dirname(os.path.abspath(__file__))


class _OnImport:
    """Instruments the process when it first imports what jobmon hooks."""

    def find_spec(self, name, path=None, target=None):
        if name not in _HOOKED:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            _instrument()
        # Finders that were added just now are not asked by the search that is under way.
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec is not None else None
            if spec is not None:
                return spec
        return None


class _Lender:
    """Finds jobmon and what it needs where the runner has them; the last finder of all.

    Not the runner's whole path: a program that asks whether some package is installed must get
    the answer of its own interpreter.
    """

    def __init__(self, folders):
        self._folders = folders

    def find_spec(self, name, path=None, target=None):
        from importlib.machinery import ModuleSpec, PathFinder

        if path is None and name in _LENT:
            return PathFinder.find_spec(name, self._folders, target)
        shared = [os.path.join(folder, _SHARED) for folder in self._folders]
        if name == _SHARED and any(os.path.isdir(one) for one in shared):
            return ModuleSpec(name, None, is_package=True)
        package, _, part = name.partition(".")
        if package == _SHARED and part in _LENT_OF_SHARED:
            return PathFinder.find_spec(name, shared, target)
        return None

    def find_distributions(self, context=None):
        # The OpenTelemetry API finds its own parts by the entry points of its distribution.
        from importlib.metadata import DistributionFinder, MetadataPathFinder

        if getattr(context, "name", None) not in (None, _LENT_METADATA):
            return []
        asked = DistributionFinder.Context(name=_LENT_METADATA, path=self._folders)
        return MetadataPathFinder.find_distributions(asked)


def _instrument():
    try:
        from importlib.util import find_spec

        if find_spec("jobmon") is None:
            folders = os.environ.get("JOBMON_RUNNER_PATH", "").split(os.pathsep)
            sys.meta_path.append(_Lender([folder for folder in folders if folder]))
        # Not jobmon.instrument(), which would log that it cannot be loaded here.
        from jobmon.instrument.install import instrument

        instrument()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Lender)]


def _chain():
    """Run the sitecustomize that this one hides, with its errors its own."""
    sys.path[:] = [one for one in sys.path if os.path.abspath(one) != _HERE]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize" and "sitecustomize" not in str(error):
            raise
    finally:
        # The import system wants to find some module under this name when it is done with ours.
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


if sys.version_info >= (3, 11):  # noqa: UP036
    sys.meta_path.insert(0, _OnImport())
_chain()
