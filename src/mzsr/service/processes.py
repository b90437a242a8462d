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
    """Make allocations beyond so many bytes fail with MemoryError; Windows knows no such limit."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
