"""A target while the notifier runs: its sender, its rules, and the message that is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from typing import Final, NamedTuple

from driftline.notify.delivery import DeliveryFailed, Message, Sender
from driftline.notify.messages import Text
from driftline.notify.plan import TargetState
from driftline.notify.schedule import Schedule

_BUG: Final = "report it; no more is logged, because errors may contain secrets"


class Digest(NamedTuple):
    """A digest, and the time at which it was due (ms)."""

    text: Text
    due_ms: int


class Outcome(NamedTuple):
    """The result of sending a message or a digest; ``error`` is None if the target accepted it."""

    item: Message | Digest
    error: DeliveryFailed | None


class Target:
    """One target.  At most one message is in transit at a time."""

    def __init__(
        self,
        name: str,
        sender: Sender,
        schedule: Schedule,
        state: TargetState,
        *,
        sends_resolved: bool = True,
    ) -> None:
        self.name, self.sender, self.schedule = name, sender, schedule
        self.sends_resolved, self.state = sends_resolved, state
        self._on_its_way: Future[Outcome] | None = None
        self._failures = Counter[str]()

    def is_free(self, now_ms: int) -> bool:
        """Whether no message is in transit, and the wait after a failure is over."""
        return self._on_its_way is None and now_ms >= self.state.next_attempt_ms

    def next_of(self, messages: Iterable[Message]) -> Message | None:
        """Return the message to send next; failed messages come last."""
        return min(
            messages,
            key=lambda m: (self._failures[m.subject.subject_id], m.subject.opened_ms),
            default=None,
        )

    def start(self, item: Message | Digest, executor: Executor) -> None:
        """Send in a thread of ``executor``; `finished` returns the outcome."""
        self._on_its_way = executor.submit(self._send, item)

    def _send(self, item: Message | Digest) -> Outcome:
        try:
            if isinstance(item, Message):
                self.sender.send(item)
            else:
                self.sender.send_text(item.text)
        except DeliveryFailed as error:
            return Outcome(item, error)
        except Exception as error:  # noqa: BLE001 - a library's error must not end the notifier
            return Outcome(item, DeliveryFailed(f"unexpected {type(error).__name__}", _BUG))
        return Outcome(item, None)

    def finished(self, *, wait: bool = False) -> Outcome | None:
        """Return the result of the message in transit; ``None`` if there is none yet."""
        if self._on_its_way is None or not (wait or self._on_its_way.done()):
            return None
        outcome = self._on_its_way.result()
        self._on_its_way = None
        if isinstance(outcome.item, Message):
            subject_id = outcome.item.subject.subject_id
            if outcome.error is None:
                del self._failures[subject_id]
            else:
                self._failures[subject_id] += 1
        return outcome
