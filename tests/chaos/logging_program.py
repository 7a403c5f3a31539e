"""A model server for tests: it logs events, forks as a preloading server does, and ends.

    python tests/chaos/logging_program.py --servers HOST:PORT --prefix P --events 100 --children 4

Each process logs that many events, with ids ``NUMBER-0``, ``NUMBER-1``, ...; the parent is 0.
At exit it prints its counters: one line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import sys

import msgspec

from producer.logger import InferenceLogger


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--spool")
    parser.add_argument("--name", default="", help="what all ids begin with")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--children", type=int, default=0)
    parser.add_argument("--max-messages", type=int, default=50_000)
    parser.add_argument("--flush-timeout-s", type=float, default=20.0)
    options = parser.parse_args()
    number = 0

    def last_words() -> None:
        line = json.dumps({"number": number, **msgspec.to_builtins(log.counters())})
        os.write(1, f"{line}\n".encode())

    atexit.register(last_words)  # before the logger's own, so that it runs after it
    log = InferenceLogger(
        options.servers,
        model="m",
        version="1",
        topic_prefix=options.prefix,
        max_messages=options.max_messages,
        flush_timeout_s=options.flush_timeout_s,
        spool=options.spool,
    )

    def serve() -> None:
        for i in range(options.events):
            log.log(features={"a": 0.5}, prediction=0.5, id=f"{options.name}{number}-{i}")

    serve()
    children = []
    for child_number in range(1, options.children + 1):
        child = os.fork()
        if child == 0:
            number = child_number
            serve()
            return
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(statuses))


if __name__ == "__main__":
    main()
