"""What logging costs the thread that serves: `InferenceLogger.log`, and what people do instead.

    python tests/benchmarks/logger_cost.py --events 100000

Microseconds a call on the caller's thread, in turns: ``json.dumps`` + ``produce`` + ``poll``, the
same with msgspec, and ``log``, first with Kafka there and then with none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
from confluent_kafka import Producer  # noqa: E402

from driftline.stack import LocalStack  # noqa: E402
from driftline.stack.server_process import free_port  # noqa: E402
from driftline.topics import topic_registry  # noqa: E402
from producer.events import Value  # noqa: E402
from producer.ids import uuid7  # noqa: E402
from producer.logger import InferenceLogger  # noqa: E402
from producer.routing import topic_names  # noqa: E402

PREFIX: Final = "bench"
FEATURES: Final[dict[str, Value]] = {f"feature_{i}": 0.125 * i for i in range(10)}
BURST: Final = 20
PAUSE_S: Final = 0.001
"""Between two bursts of calls: a server waits for its next request, and other threads run."""


class Costs(NamedTuple):
    """Of one call, in microseconds: CPU of the calling thread, and the longest waits."""

    mean_us: float
    p999_us: float


def costs(name: str, call: Callable[[], object], n: int) -> Costs:
    """Call ``n`` times, in bursts; print and return the cost."""
    waits: list[float] = []
    cpu_s = 0.0
    for _ in range(n // (2 * BURST)):
        began_cpu = time.thread_time()
        for _ in range(BURST):
            call()
        cpu_s += time.thread_time() - began_cpu
        time.sleep(PAUSE_S)
        for _ in range(BURST):  # apart, for looking at the clock costs too
            began = time.perf_counter()
            call()
            waits.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    found = Costs(cpu_s / len(waits) * 1e6, sorted(waits)[int(len(waits) * 0.999)] * 1e6)
    print(f"{name:<34} mean {found.mean_us:5.1f} us   p99.9 {found.p999_us:7.1f} us", flush=True)
    return found


def by_hand(servers: str, encode: Callable[[Any], bytes]) -> Callable[[], object]:
    """What people write: encode, produce, poll."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "log_level": 0})
    topic = topic_names(PREFIX).events

    def call() -> None:
        now_ms = time.time_ns() // 1_000_000
        event = {
            "id": uuid7(now_ms),
            "model": "bench",
            "version": "1",
            "time_ms": now_ms,
            "features": FEATURES,
            "prediction": 0.5,
        }
        producer.produce(topic, encode(event), key="bench")
        producer.poll(0)

    return call


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    n = parser.parse_args().events
    with LocalStack.start() as stack:
        servers = stack.bootstrap_servers
        topic_registry.create_topics(
            {"bootstrap.servers": servers}, topic_registry.load_registry(PREFIX)
        )
        dumps = costs("json.dumps + produce", by_hand(servers, _dumps), n)
        fast = costs("msgspec + produce", by_hand(servers, msgspec.json.encode), n)
        there = costs_of_log("Kafka there", servers, n)
        dead = costs_of_log("no Kafka", f"127.0.0.1:{free_port()}", n)
    print(
        json.dumps(
            {
                "json_produce_us": round(dumps.mean_us, 2),
                "msgspec_produce_us": round(fast.mean_us, 2),
                "log_us": round(there.mean_us, 2),
                "log_dead_us": round(dead.mean_us, 2),
                "share": round(there.mean_us / dumps.mean_us, 3),
            }
        )
    )


def _dumps(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def costs_of_log(name: str, servers: str, n: int) -> Costs:
    """`InferenceLogger.log` against a broker, or none."""
    log = InferenceLogger(servers, model="bench", version="1", topic_prefix=PREFIX)
    found = costs(
        f"InferenceLogger.log, {name}", lambda: log.log(features=FEATURES, prediction=0.5), n
    )
    log.close(5.0)
    return found


if __name__ == "__main__":
    main()
