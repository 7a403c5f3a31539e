"""Endless traffic for fault tests: drift, labels, repeats, late events and poison records."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from producer.cloudevents import event_headers
from producer.codec import encode
from producer.events import Event, Label
from producer.routing import partition_of
from tests.builders import inference_event

START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 10_000
"""Event time between events of a model: a window of ten minutes holds sixty."""
NORMAL_EVENTS: Final = 1_200
"""What a model begins with: its warm-up, and some more."""
UNIT_EVENTS: Final = 200
OLDER_EVENTS: Final = 1_000
LATE_MS: Final = 2 * 3_600_000
"""How far behind a late event is: its window has long been closed."""
SHUFFLED_MS: Final = 120_000
"""How far out of order events may be."""
LABEL_DELAY: Final = 60
POISON: Final = (b"", b"{", b"\xff\xfe", b'{"id": 7}', b"[" * 5_000, b'{"x": NaN}', b"\0" * 300)


RECENT: Final = 1_000
Record = tuple[int, bytes, list[tuple[str, str | bytes | None]]]
"""Where a record goes, what it holds, its headers."""


def events_of(model: str, seed: int) -> Iterator[Event | bytes]:
    """A model's life: in Celsius by mistake every other 200 events, older customers, wrong scores,
    a feature on trial.

    Episodes of drift begin and end all the time, so that there are alerts to lose.
    """
    rng = random.Random(f"{model}:{seed}")  # noqa: S311
    waiting: deque[Label] = deque()
    number = 0
    while True:
        celsius = number > NORMAL_EVENTS and number // UNIT_EVENTS % 2 == 1
        older = number > NORMAL_EVENTS and number // OLDER_EVENTS % 2 == 0
        temp, age = rng.gauss(60, 9), rng.gauss(48 if older else 40, 10)
        trial = {"trial": 1.0} if number > NORMAL_EVENTS and number // UNIT_EVENTS % 3 == 1 else {}
        score = min(1.0, max(0.0, rng.gauss(0.4, 0.1)))
        behind_ms = LATE_MS if number % 103 == 50 else rng.randrange(SHUFFLED_MS)
        time_ms = max(START_MS, START_MS + STEP_MS * number - behind_ms)
        event = inference_event(
            f"{model}-{seed}-{number}",
            {
                "temp": (temp - 32) / 1.8 if celsius else temp,
                "age": age,
                "plan": rng.choice(("free", "pro", "team")),
                **trial,
            },
            score,
            model=model,
            time_ms=time_ms,
        )
        yield event
        wrong = older and rng.random() < 0.3
        label = int((score > 0.5) != wrong)
        waiting.append(Label(id=event.id, model=model, label=label, time_ms=time_ms))
        if len(waiting) > LABEL_DELAY:
            yield waiting.popleft()
        if number % 131 == 7:
            yield event
        if number % 149 == 7:
            yield waiting[0]
        if number % 97 == 11:
            yield rng.choice(POISON)
        number += 1


def models_for(n_partitions: int) -> list[str]:
    """One model's name for every partition."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < n_partitions:
        name = f"model-{number}"
        names.setdefault(partition_of(name, n_partitions), name)
        number += 1
    return [names[partition] for partition in sorted(names)]


class Traffic:
    """Writes ``per_s`` records a second, to every partition in turn, from a thread."""

    def __init__(
        self, client: dict[str, Any], topic: str, n_partitions: int, *, per_s: float, seed: int
    ) -> None:
        # The broker is killed and frozen: whatever was accepted here must arrive all the same.
        self._producer = Producer(
            {
                **client,
                "linger.ms": 5,
                "enable.idempotence": True,
                "log_level": 0,
                "message.timeout.ms": 300_000,
            }
        )
        self._topic = topic
        self.per_s = per_s
        self._lives = [events_of(model, seed) for model in models_for(n_partitions)]
        self._acknowledged = 0
        self.count_also = 0
        """Records that others than our thread have written, acknowledged."""
        self._recent: deque[Record] = deque(maxlen=RECENT)
        self._client = client
        self.rejected = 0
        self._running = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="traffic", daemon=True)
        self._thread.start()

    def prelude(self, n_records: int) -> None:
        """Write so many at once: what detectors need to warm up."""
        for number in range(n_records):
            self._next(number % len(self._lives))
        self.flush()

    def resume(self) -> None:
        """Continue to write."""
        self._running.set()

    @property
    def acknowledged(self) -> int:
        """How many records the broker has promised to keep."""
        return self._acknowledged + self.count_also

    def recent(self) -> list[Record]:
        """What was written last."""
        return list(self._recent)

    def write(self, records: Sequence[Record]) -> None:
        """Write as another producer does, which knows nothing of ours.

        Raises:
            RuntimeError: the broker did not take all of it.
        """
        errors: list[KafkaError | None] = []
        # A batch of one bomb compresses to kilobytes; the client counts what it was before.
        large = {"message.max.bytes": 200_000_000, "compression.type": "zstd", "linger.ms": 1}
        producer = Producer({**self._client, **large})
        for partition, raw, kind in records:
            producer.produce(
                self._topic,
                raw,
                partition=partition,
                headers=kind,
                on_delivery=lambda error, _message: errors.append(error),
            )
            producer.poll(0)
        left = producer.flush(60)
        if left or errors != [None] * len(records):
            raise RuntimeError(f"the broker took no more: {left} left, {set(errors)}")
        self.count_also += len(records)

    def pause(self) -> None:
        """Stop writing, and wait until all of it is acknowledged."""
        self._running.clear()
        self._idle.wait()
        self.flush()

    def flush(self) -> None:
        """Wait for acknowledgements.  Raises if the broker does not come back."""
        left = self._producer.flush(120)
        if left or self.rejected:
            raise RuntimeError(f"the broker took no more: {left} left, {self.rejected} rejected")

    def close(self) -> None:
        """Stop for good."""
        self._over.set()
        self._running.set()
        self._thread.join(10)
        self._producer.purge()
        self._producer.flush(5)

    def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            if not self._running.is_set():
                self._idle.set()
                self._running.wait()
                continue
            self._idle.clear()
            began = time.monotonic()
            at_once = max(10, int(self.per_s / 50))
            for _ in range(at_once):
                self._next(number % len(self._lives))
                number += 1
            self._producer.poll(0)
            time.sleep(max(0.0, at_once / self.per_s - (time.monotonic() - began)))

    def _next(self, partition: int) -> None:
        value = next(self._lives[partition])
        raw = value if isinstance(value, bytes) else encode(value)
        kind = [] if isinstance(value, bytes) else event_headers(value, source="/chaos")
        self._recent.append((partition, raw, kind))
        while True:
            try:
                self._producer.produce(
                    self._topic, raw, partition=partition, headers=kind, on_delivery=self._answered
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _answered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._acknowledged += 1
        else:
            self.rejected += 1
