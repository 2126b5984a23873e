"""The warnings of this library. Each has a code, and a section in `docs/reference/errors.md`."""

from __future__ import annotations


class ClaimedUserWarning(UserWarning):
    """A client names its own user: LangGraph Server authenticates nobody, and a policy counts by user."""

    code = "claimed-user"


class LostContextWarning(UserWarning):
    """A model or tool was called in a thread that lacks the context of its node, where no policy sees it."""

    code = "lost-context"


class MemoryStoreWarning(UserWarning):
    """Several workers each count rate limits in their own memory."""

    code = "memory-store"


class RetriesWarning(UserWarning):
    """Several layers retry the same calls, so their attempts multiply."""

    code = "retry-layers"
