"""The local stack: real servers on loopback, without Docker."""

from driftline.stack.local_stack import LocalStack
from driftline.stack.server_process import ServerStartError

__all__ = ["LocalStack", "ServerStartError"]
