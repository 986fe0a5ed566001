"""What was asked of servers, what it cost and what came of it."""

from dataclasses import dataclass, field
from typing import Any

from pagefinder.errors import InputError
from pagefinder.writing.calls import Reply


@dataclass
class Tally:
    """Counts by step, and the bound on the requests of a run; retries do not count against it."""

    max_requests: int
    sent: int = 0
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, requests: int) -> None:
        """Count requests that are about to be sent; raises InputError where they are too many."""
        self.check(requests)
        self.sent += requests

    def check(self, requests: int) -> None:
        """Raise InputError where so many more requests pass the bound."""
        needed = self.sent + requests
        if needed > self.max_requests:
            raise InputError(
                f"queries.writer.max_requests is {self.max_requests}, but up to {needed} requests "
                f"are needed: raise it to {needed}, or lower queries.writer.pages or per_page"
            )

    def count(self, step: str, reply: Reply, failure: str, *, cached: bool) -> None:
        """Count an answer: a kept one with the tokens that it once cost."""
        counts = self._step(step)
        counts["requests"] += 1
        counts["cached"] += cached
        counts["tokens_in"] += reply.tokens_in
        counts["tokens_out"] += reply.tokens_out
        if not cached:
            counts["retried"] += reply.retried
        if failure:
            counts["failures"][failure] = counts["failures"].get(failure, 0) + 1

    def fail(self, step: str, failure: str, retried: int = 0) -> None:
        """Count a request without an answer."""
        counts = self._step(step)
        counts["requests"] += 1
        counts["retried"] += retried
        counts["failures"][failure] = counts["failures"].get(failure, 0) + 1

    def _step(self, step: str) -> dict[str, Any]:
        names = ("requests", "cached", "retried", "tokens_in", "tokens_out")
        return self.steps.setdefault(step, dict.fromkeys(names, 0) | {"failures": {}})
