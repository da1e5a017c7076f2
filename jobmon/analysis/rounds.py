"""Analyses, one at a time whoever makes them: a server, or a person's ``jobmon analyze``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from jobmon.analysis.analyzer import Analyzer
from jobmon.analysis.showing import Showing
from jobmon.history import database
from jobmon.history.fence import Fence
from jobmon.history.incidents import Incidents
from jobmon.history.schema import tables
from jobmon.store import connection
from jobmon.store.analyses import Analyses
from jobmon.store.holding import taken
from jobmon.store.identity import Identity
from jobmon.store.keys import ANALYSIS
from jobmon.store.lease import Lease

if TYPE_CHECKING:
    from jobmon.analysis.report import Report
    from jobmon.settings import Settings

_STATEMENT_SECONDS: Final = 60.0


class Rounds:
    """Makes them. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Make one, with connections of its own; nothing is asked yet.

        Raises:
            SettingsError: The database's driver is not installed, or a declared schedule is none.
        """
        self._client = connection.connect(settings)
        self._engine = database.connect(settings, statement_seconds=_STATEMENT_SECONDS)
        self._analyzer = Analyzer(self._engine, self._client, settings)
        own = tables(settings.database.table_prefix)
        fence = Fence(own, ANALYSIS, Identity(self._client, settings))
        incidents = Incidents(self._engine, own, fence)
        self._showing = Showing(incidents, self._client, settings)
        self._lease = Lease(self._client, settings, ANALYSIS)
        self._analyses = Analyses(self._client, settings)
        self._knows_all = False

    def close(self) -> None:
        """Give its connections back."""
        self._engine.dispose()
        self._client.close()

    def all(
        self,
        commands: Sequence[str] | None = None,
        *,
        record: bool = True,
        deadline: float | None = None,
    ) -> Report | None:
        """Judge every command, or some.

        Args:
            commands: Their names.
            record: False: nothing is kept, and nobody is told.
            deadline: Of ``time.monotonic``: what is not judged by then is not.

        Returns:
            None: Somebody does just now.

        Raises:
            DatabaseUnavailable: The database cannot be asked.
            FencedError: Somebody else has taken over.
            redis.RedisError: The store cannot be asked.
        """
        if not record:
            return self._analyzer.analyze(0, commands=commands, record=False, deadline=deadline)
        with taken(self._lease) as token:
            return None if token is None else self._all(token, commands, deadline)

    def scheduled(self, interval_seconds: float) -> Report | None:
        """Judge what is new or due; everything, if nobody has for so long, or nobody here yet.

        Returns, raises: as `all`.
        """
        with taken(self._lease) as token:
            if token is None:
                return None
            if self._knows_all and not self._analyses.due(interval_seconds):
                return self._shown(lambda: self._analyzer.analyze_new(token))
            return self._all(token, None, None)

    def _all(self, token: int, commands: Sequence[str] | None, deadline: float | None) -> Report:
        if commands is not None:
            return self._shown(
                lambda: self._analyzer.analyze(token, commands=commands, deadline=deadline)
            )
        if deadline is None:  # one that fails is not tried again at once
            self._analyses.begin()

        def analysis() -> Report:
            report = self._analyzer.analyze(token, deadline=deadline)
            if report.is_complete:
                # What is due when is known by now, whether or not it can be shown.
                self._knows_all = True
                if deadline is not None:
                    self._analyses.begin()
            return report

        return self._shown(analysis)

    def _shown(self, analysis: Callable[[], Report]) -> Report:
        """Make one, and show what is open after it."""
        self._showing.count()
        report = analysis()
        self._showing.update(report.timestamp)
        return report
