"""Why a job is not run again, in the sentences that the API and the CLI answer with."""

from __future__ import annotations

from jobmon.errors import JobmonError, Unavailable


class NotFailedError(JobmonError):
    """There is no such failed job, or somebody else has it in hand."""

    def __init__(self, given: str, verb: str = "retry") -> None:
        super().__init__(f"Could not {verb} job [{given}]. It may no longer exist.")


class NoneFailedError(JobmonError):
    """A command run has no failed jobs."""

    def __init__(self) -> None:
        super().__init__("No failed jobs found for this command.")


class MessageMissingError(JobmonError):
    """The job's message was not kept whole."""

    def __init__(self, given: str) -> None:
        super().__init__(f"Could not retry job [{given}]. Its arguments were not stored.")


class NotConfiguredError(JobmonError):
    """Where the job's queue is has not been said, and what its message says is not trusted."""

    def __init__(self, given: str, setting: str, what: str) -> None:
        super().__init__(f"Could not retry job [{given}]. {what}: set {setting}.")


class PerhapsPushedError(JobmonError):
    """The job may wait in its queue already; pushed once more, it might run twice."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"Could not retry job [{given}]. It may have been pushed already: a retry broke off "
            f"while it pushed. To push it all the same: jobmon retry --force {given}"
        )


class QueueUnavailable(Unavailable):
    """Nothing was changed: the broker does not answer or refuses, or the queue is gone."""

    def __init__(self, given: str, verb: str = "retry") -> None:
        super().__init__(f"Could not {verb} job [{given}]. The queue is unavailable.")
