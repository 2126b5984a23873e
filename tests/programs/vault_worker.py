"""A process with a vault of its own: `python vault_worker.py DSN KEY` answers each line, a list in JSON, with one."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from lg_prod_nodes.stores.vault.store import Session, Vault


class Worker:
    def __init__(self, dsn: str, key: str) -> None:
        self.vault = Vault(dsn, key=bytes.fromhex(key))
        self.sessions: dict[str, Session] = {}

    def token(self, subject: str, value: str) -> str:
        session = self.sessions.setdefault(subject, self.vault.session(subject))
        return session.token("EMAIL_ADDRESS", value)

    def keep(self, subject: str) -> bool:
        return self.vault.keep(self.sessions[subject])

    def tokenize(self, subject: str, value: str) -> str:
        session = self.vault.session(subject)
        while True:
            token = session.token("EMAIL_ADDRESS", value)
            if self.vault.keep(session):
                return token

    def restore(self, subject: str, text: str) -> str:
        return self.vault.restore(subject, text)

    def tokenize_at_once(self, subject: str, value: str, threads: int) -> list[str]:
        barrier = Barrier(threads)

        def one(_: int) -> str:
            barrier.wait()
            return self.tokenize(subject, value)

        with ThreadPoolExecutor(threads) as pool:
            return sorted(set(pool.map(one, range(threads))))


def main(dsn: str, key: str) -> None:
    worker = Worker(dsn, key)
    with worker.vault:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            answer: Any = getattr(worker, name)(*arguments)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
