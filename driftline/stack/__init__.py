"""The local stack: real servers on loopback, without Docker."""

from driftline.stack.local import LocalStack
from driftline.stack.process import ServerFailed

__all__ = ["LocalStack", "ServerFailed"]
