from collections.abc import Callable
from tests.chaos.servers import Servers
def play(servers: Servers, seed: int, n_kills: int, say: Callable[[str], None]) -> int: return 1
