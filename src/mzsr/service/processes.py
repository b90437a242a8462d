"""What every worker process does first: it ends when its server ends, and it may not take all the memory."""

import os
import sys
import threading
from multiprocessing import connection, parent_process


def end_with_parent() -> None:
    """End this process when the one that started it does, however that ends."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def limit_memory(allowed: int) -> None:
    """Make allocations beyond so many bytes, or a lower limit that is set, fail with MemoryError; not on Windows."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = allowed if most == resource.RLIM_INFINITY else min(allowed, most)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
