"""Start Kafka and Redis on loopback for the demo and the tests, without Docker."""

from driftline.stack.local_stack import LocalStack
from driftline.stack.server_process import ServerStartError

__all__ = ["LocalStack", "ServerStartError"]
