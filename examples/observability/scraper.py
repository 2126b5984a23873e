"""A private Prometheus that scrapes this process, with the alerts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from lg_prod_nodes import metrics_text

FOLDER = Path(__file__).parent
BROUGHT = FOLDER.parents[1] / ".cache" / "prometheus" / "usr" / "bin"


def binary(name: str) -> str:
    """The path of a Prometheus binary.

    Raises:
        FileNotFoundError: It is not installed.
    """
    if found := shutil.which(name, path=f"{BROUGHT}{os.pathsep}{os.environ['PATH']}"):
        return found
    raise FileNotFoundError(f"{name} is missing; `make .cache/prometheus/ready` brings it")


@contextmanager
def prometheus(registry: CollectorRegistry, folder: Path, interval: str) -> Iterator[httpx.Client]:
    """A Prometheus that stores its data in a folder and scrapes a registry at an interval, such as `"5s"`."""
    address = f"127.0.0.1:{_free_port()}"
    with _page(registry) as page:
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "rule_files": [str(FOLDER / "alerts.yaml")],
            "scrape_configs": [{"job_name": "desk", "static_configs": [{"targets": [page]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        command = [
            binary("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]
        with (
            httpx.Client(base_url=f"http://{address}", timeout=30) as client,
            subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,
        ):
            try:
                _wait_for(process, client)
                yield client
            finally:
                process.terminate()


@contextmanager
def _page(registry: CollectorRegistry) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics_text(registry).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(process: subprocess.Popen[bytes], client: httpx.Client) -> None:
    while process.poll() is None:
        try:
            if client.get("/-/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus ended with {process.returncode}")
