"""How fast a full topic is drained: driftline, the textbook program, the best loop by hand.

driftline drains the same events as batches of 500 too (`driftline_batches`).

    python tests/benchmarks/drain.py --events 200000 --rounds 2

The same topic, the same machine, one after another, in turns; the median of the rounds counts.
driftline runs as in production, everything on.  Its rate is told by Redis, not by itself: records
committed from its first commit seen to its last.  The others count from their first record on.
Before that, what the stages of the core cost by themselves (`tests.benchmarks.stage_costs`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import redis  # noqa: E402

from driftline.monitor_state.partition_state import read_partition  # noqa: E402
from driftline.stack import LocalStack  # noqa: E402
from driftline.topics import topic_registry  # noqa: E402
from producer.routing import topic_names  # noqa: E402
from tests.benchmarks import stage_costs as stages  # noqa: E402
from tests.benchmarks import workload  # noqa: E402
from trainer.service.announce import announce  # noqa: E402

TEXTBOOK_SHARE: Final = 10
"""It is an order of magnitude slower: a tenth of the events takes it as long."""
STUCK_S: Final = 120.0
POLL_S: Final = 0.02


def driftline_rate(stack: LocalStack, prefix: str, n: int) -> float:
    """Start the monitor on an empty Redis and wait until all is committed; events/s."""
    store = redis.Redis.from_url(stack.redis_url)
    store.flushall()
    topic = topic_names(prefix).events
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "driftline",
            "monitor",
            "--bootstrap-servers",
            stack.bootstrap_servers,
            "--redis-url",
            stack.redis_url,
            "--prefix",
            prefix,
            "--web-port",
            "0",
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + STUCK_S
        first: tuple[int, float] | None = None
        while True:
            done = read_partition(store, topic, workload.PARTITION).counters.valid
            now = time.perf_counter()
            if done and first is None:
                first = (done, now)
            if done >= n and first is not None:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the monitor stands at {done} of {n}")
            time.sleep(POLL_S)
        counters = read_partition(store, topic, workload.PARTITION).counters
        if counters.valid != n:
            raise RuntimeError(f"{counters.valid} of {n} events counted as valid: {counters}")
        return (done - first[0]) / (now - first[1])
    finally:
        process.terminate()
        process.wait(30)
        store.close()


def program_rate(module: str, stack: LocalStack, prefix: str, n: int) -> float:
    """Run one of the others over ``n`` events; events/s."""
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            f"tests.benchmarks.{module}",
            stack.bootstrap_servers,
            topic_names(prefix).events,
            str(n),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=STUCK_S,
        check=True,
    )
    reported = json.loads(
        next(line for line in answer.stdout.splitlines() if line.startswith(b"{"))
    )
    return float(reported["events"] / reported["seconds"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-textbook", action="store_true", help="while optimising")
    chosen = parser.parse_args()
    print(stages.measure().text(), flush=True)
    prefix, n = "bench", chosen.events
    names = ("driftline", "driftline_batches", "textbook", "hand_written")
    rates: dict[str, list[float]] = {name: [] for name in names}
    with LocalStack.start() as stack:
        print("\n".join(stack.describe()), flush=True)
        client = {"bootstrap.servers": stack.bootstrap_servers}
        for name in (prefix, f"{prefix}-batches"):
            topic_registry.create_topics(client, topic_registry.load_registry(name))
            announce(stack.bootstrap_servers, workload.profile(), topic_prefix=name)
        workload.write(stack.bootstrap_servers, prefix, n)
        workload.write_batches(stack.bootstrap_servers, f"{prefix}-batches", n)
        for turn in range(chosen.rounds):
            rates["driftline"].append(driftline_rate(stack, prefix, n))
            rates["driftline_batches"].append(driftline_rate(stack, f"{prefix}-batches", n))
            rates["hand_written"].append(program_rate("handwritten_loop", stack, prefix, n))
            if not chosen.without_textbook:
                few = n // TEXTBOOK_SHARE
                rates["textbook"].append(program_rate("textbook_faust", stack, prefix, few))
            reported = "  ".join(
                f"{name} {runs[-1]:,.0f}/s" for name, runs in rates.items() if runs
            )
            print(f"round {turn + 1}: {reported}", flush=True)
    median = {name: statistics.median(runs) if runs else 0.0 for name, runs in rates.items()}
    ratios = {
        f"vs_{name}": round(median["driftline"] / median[name], 2) if median[name] else 0.0
        for name in ("textbook", "hand_written")
    }
    by_hand = median["hand_written"]
    ratios["batches_vs_hand_written"] = (
        round(median["driftline_batches"] / by_hand, 2) if by_hand else 0.0
    )
    print(json.dumps({**{name: round(rate) for name, rate in median.items()}, **ratios}))


if __name__ == "__main__":
    main()
