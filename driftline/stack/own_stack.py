"""The processes of ``driftline up``: monitor, dashboard and trainer on a local Kafka and Redis."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from driftline.cli.command_error import EXIT_UNREACHABLE, EXIT_USAGE, CommandError
from driftline.cli.output import note
from driftline.stack.child_process import ChildProcess
from driftline.stack.local_stack import LocalStack, OwnServer
from driftline.stack.server_process import ServerStartError, free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.topics import topic_registry

READY_S: Final = 60.0
RESTART_S: Final = 5.0
"""A process that ended is started again after this time."""
_POLL_S: Final = 0.2


class StackOptions(NamedTuple):
    """The options of the processes to start.

    ``factory`` are the arguments of ``driftline train`` that name models and factories; ``None``:
    no trainer.  ``data_dir`` is the trainer's folder; ``None`` stands for a temporary one.
    """

    prefix: str
    dashboard_port: int
    factory: tuple[str, ...] | None
    data_dir: Path | None
    settings_file: Path | None


class OwnStack:
    """A running stack: its addresses and processes."""

    def __init__(self, servers: LocalStack, options: StackOptions, folder: Path) -> None:
        self.servers, self._options, self._folder = servers, options, folder
        self.data_dir = options.data_dir or folder / "trainer"
        self._monitor_port = free_port()
        self._children: dict[str, ChildProcess] = {}
        self._start_child: dict[str, Callable[[], ChildProcess]] = {}
        self._restart_s: dict[str, float] = {}
        self._is_ready = False

    @classmethod
    @contextlib.contextmanager
    def start(cls, options: StackOptions) -> Iterator[Self]:
        """Start the servers, the topics and the processes; stop all of them at the end.

        Raises:
            CommandError: a server or a process does not start.
        """
        with contextlib.ExitStack() as cleanup:
            try:
                servers = cleanup.enter_context(LocalStack.start())
            except ServerStartError as failed:
                raise CommandError(
                    "the local Kafka and Redis did not start",
                    why=str(failed),
                    code=EXIT_UNREACHABLE,
                ) from failed
            folder = cleanup.enter_context(temporary_folder("up", keep_on_failure=True))
            stack = cls(servers, options, folder)
            client = {"bootstrap.servers": servers.bootstrap_servers}
            topic_registry.create_topics(client, topic_registry.load_registry(options.prefix))
            cleanup.callback(stack._stop)
            stack._start()
            stack._wait_until_ready()
            stack._is_ready = True
            yield stack

    @property
    def dashboard_url(self) -> str:
        """The address of the dashboard."""
        return f"http://127.0.0.1:{self._options.dashboard_port}"

    @property
    def exports(self) -> dict[str, str]:
        """The environment variables with which other commands find this stack."""
        found = {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.bootstrap_servers,
            "REDIS_URL": self.servers.redis_url,
            "DRIFTLINE_TRAINER_DATA_DIR": str(self.data_dir),
        }
        if self._options.prefix != "driftline":
            found["DRIFTLINE_TOPICS__PREFIX"] = self._options.prefix
        return found

    def wait_until_stopped(self) -> None:
        """Wait until Ctrl-C or SIGTERM.

        Raises:
            CommandError: a setting is invalid, or a server ended that cannot be started again.
        """
        while True:
            self._check()
            time.sleep(_POLL_S)

    def _start(self) -> None:
        addresses = [
            *("--bootstrap-servers", self.servers.bootstrap_servers),
            *("--prefix", self._options.prefix),
        ]
        redis = ["--redis-url", self.servers.redis_url]
        self._run("monitor", *addresses, *redis, "--web-port", str(self._monitor_port))
        port = str(self._options.dashboard_port)
        self._run("dashboard", *addresses, *redis, "--port", port)
        if self._options.factory is not None:
            own = [*self._options.factory, "--data-dir", str(self.data_dir), "--web-port", "0"]
            self._run("train", *addresses, *own)

    def _run(self, command: str, *arguments: str) -> None:
        settings = self._options.settings_file
        config = [] if settings is None else ["--config", str(settings.resolve())]
        environment = self.servers.monitor_environment()
        self._start_child[command] = lambda: ChildProcess(
            command, "driftline", [command, *arguments, *config], environment, self._folder
        )
        self._children[command] = self._start_child[command]()

    def _wait_until_ready(self) -> None:
        waiting = [f"http://127.0.0.1:{self._monitor_port}/readyz", f"{self.dashboard_url}/healthz"]
        deadline_s = time.monotonic() + READY_S
        while waiting:
            self._check()
            if _answers(waiting[0]):
                del waiting[0]
            elif time.monotonic() > deadline_s:
                raise CommandError(
                    f"{waiting[0]} did not answer within {READY_S:.0f} s",
                    where=str(self._folder),
                    fix="read the logs in this folder",
                )
            else:
                time.sleep(_POLL_S)

    def _check(self) -> None:
        """Start what has ended again; a process that never was ready, or cannot be, is an error."""
        for server in self.servers.own:
            code = server.process.exit_code
            if code is not None:
                self._restart_server(server, f"{server.name} ended with exit code {code}")
        for name, child in tuple(self._children.items()):
            child.new_lines()
            if child.exit_code is not None:
                self._restart_child(name, child)

    def _restart_server(self, server: OwnServer, found: str) -> None:
        where = str(server.process.log)
        if server.restart is None or not self._is_ready:
            raise CommandError(found, where=where, why="\n" + server.process.tail())
        note(f"{found}; it is started again")
        try:
            server.restart()
        except ServerStartError as failed:
            raise CommandError(found, where=where, why=str(failed)) from failed
        note(f"{server.name} answers again")

    def _restart_child(self, name: str, child: ChildProcess) -> None:
        """A process gives up while Kafka or Redis is away for long: it is started again."""
        found = f"driftline {name} ended with exit code {child.exit_code}"
        if not self._is_ready or child.exit_code == EXIT_USAGE:
            raise CommandError(found, where=str(child.log), why="\n" + child.tail())
        now_s = time.monotonic()
        due_s = self._restart_s.get(name)
        if due_s is None:
            note(f"{found}; it is started again in {RESTART_S:g} s, see {child.log}")
            self._restart_s[name] = now_s + RESTART_S
        elif now_s >= due_s:
            del self._restart_s[name]
            child.stop()
            self._children[name] = self._start_child[name]()

    def _stop(self) -> None:
        for child in reversed(self._children.values()):
            child.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - loopback
            return True
    except (urllib.error.URLError, OSError):
        return False
