"""A process that forks while a thread connects: `python connect_and_fork.py sync|async`.

The server says nothing until the fork waits, and then hangs up. Prints whether the fork came after that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from contextlib import suppress

from psycopg import OperationalError

from lg_prod_nodes.databases.forks import FORKS
from lg_prod_nodes.databases.patience import PatientAsyncConnection, PatientConnection


def connect(port: int, *, is_async: bool) -> None:
    address = f"host=127.0.0.1 port={port}"
    with suppress(OperationalError):
        if is_async:
            asyncio.run(PatientAsyncConnection.connect(address))
        else:
            PatientConnection.connect(address)


def fork(hung_up: threading.Event) -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    print("after" if hung_up.is_set() else "before", flush=True)
    os.waitpid(child, 0)


def main(*, is_async: bool) -> None:
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connecting = threading.Thread(target=connect, args=[port], kwargs={"is_async": is_async})
        connecting.start()
        client, _ = server.accept()
        forking = threading.Thread(target=fork, args=[hung_up])
        forking.start()
        while forking.is_alive() and not FORKS.are_waiting:
            time.sleep(0.001)
        hung_up.set()
        client.close()
        connecting.join()
        forking.join()


if __name__ == "__main__":
    main(is_async=sys.argv[1] == "async")
