"""Checks `langgraph.json`: its content, and everything it names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from lg_prod_nodes.cli.checks import Check, CheckFinding

_SCRIPT = re.compile(r"\.[mc]?[jt]sx?(?::|$)")
_VERSION = re.compile(r"3\.(\d{2})(?:-\w+)?")
_OLDEST = 11
_OURS = re.compile(r"lg_prod_nodes\.(?:service\.persistence\.)?(?:checkpointer|store)")


@dataclass(frozen=True)
class ServerConfig:
    """A valid `langgraph.json`.

    Attributes:
        path: The path of the file.
        content: The parsed file.
    """

    path: Path
    content: Mapping[str, Any] = field(repr=False)

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return self.path.parent.absolute()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that the server sets, from `env`."""
        env = self.content.get("env") or {}
        values = dotenv_values(self.folder / env) if isinstance(env, str) else env
        if not isinstance(values, Mapping):
            return {}
        return {str(name): str(value) for name, value in values.items() if value is not None}

    @property
    def pools(self) -> int:
        """The number of this library's connection pools that the server opens."""
        paths = (_inside(self.content, kind, "path") for kind in ("checkpointer", "store"))
        return max(1, sum(_OURS.fullmatch(str(path)) is not None for path in paths))

    @property
    def has_index(self) -> bool:
        """Whether its store has semantic search."""
        return bool(_inside(self.content, "store", "index"))

    def checks(self, environ: Mapping[str, str], seconds: float) -> dict[str, Check]:
        """Return checks of its content and of everything it names, which is imported in a separate process.

        Args:
            environ: The environment of that process.
            seconds: Time limit of the imports.
        """
        name = self.path.name
        return {
            name: lambda: (
                list(self._said()) or [CheckFinding(name, "ok", "says what a server needs")]
            ),
            f"{name} imports": partial(self._imported, environ, seconds),
        }

    def _said(self) -> Iterator[CheckFinding]:
        wrong = partial(CheckFinding, self.path.name, "failed")
        graphs = self.content.get("graphs")
        if not (isinstance(graphs, Mapping) and graphs):
            yield wrong("graphs is not set", 'write "graphs": {"agent": "./graph.py:graph"}')
        yield from self._dependencies()
        env = self.content.get("env")
        if isinstance(env, str) and not (self.folder / env).is_file():
            yield wrong(f"env is {env!r}, which is no file", "correct the path, or leave env out")
        elif not (env is None or isinstance(env, (str, Mapping))):
            yield wrong("env is neither a path nor names and values", 'write "env": ".env"')
        yield from self._python_version()
        for kind in ("checkpointer", "store", "auth"):
            if kind in self.content and not isinstance(self.content[kind], Mapping):
                yield wrong(f"{kind} is no object", f'write "{kind}": {{"path": "..."}}')
        if (
            _inside(self.content, "http", "app")
            and self.content.get("auth")
            and not _inside(self.content, "http", "enable_custom_route_auth")
        ):
            yield CheckFinding(
                self.path.name,
                "warning",
                "the routes of http.app are open to everybody",
                'set "enable_custom_route_auth": true under http, or protect them there',
            )

    def _dependencies(self) -> Iterator[CheckFinding]:
        wrong = partial(CheckFinding, self.path.name, "failed")
        given = self.content.get("dependencies")
        if given is None and self.content.get("source"):
            return
        if not (isinstance(given, list) and given and all(isinstance(one, str) for one in given)):
            yield wrong("dependencies is not set", 'write "dependencies": ["."]')
            return
        for path in given:
            if path.startswith(".") and not (self.folder / path).is_dir():
                yield wrong(f"the dependency {path!r} is no folder", "correct the path")

    def _python_version(self) -> Iterator[CheckFinding]:
        version = self.content.get("python_version")
        if version is None:
            return
        parsed = _VERSION.fullmatch(str(version))
        if not (parsed and int(parsed[1]) >= _OLDEST):
            advice = f'write "3.{_OLDEST}" or newer, without a third number'
            yield CheckFinding(self.path.name, "failed", f"python_version is {version!r}", advice)
        elif int(parsed[1]) != sys.version_info.minor:
            here = f"{sys.version_info.major}.{sys.version_info.minor}"
            found = f"python_version is {version}, and this check runs in {here}"
            yield CheckFinding(self.path.name, "warning", found, "check in the version that serves")

    def _places(self) -> Iterator[tuple[str, str, str]]:
        """Yield everything it names, as subject, kind and reference."""
        graphs = self.content.get("graphs")
        for name, graph in graphs.items() if isinstance(graphs, Mapping) else ():
            place = graph.get("path") if isinstance(graph, Mapping) else graph
            yield f"graph {name}", "graph", str(place)
        for kind in ("checkpointer", "store", "auth", "encryption", "priority"):
            if path := _inside(self.content, kind, "path"):
                yield kind, kind, str(path)
        if path := _inside(self.content, "http", "app"):
            yield "http.app", "http.app", str(path)

    def _imported(self, environ: Mapping[str, str], seconds: float) -> Iterator[CheckFinding]:
        places = list(self._places())
        for subject, _, place in places:
            if _SCRIPT.search(place):
                yield CheckFinding(subject, "ok", f"{place} is not Python, and was not looked at")
        python = [place for place in places if not _SCRIPT.search(place[2])]
        if python:
            yield from self._resolved(python, environ, seconds)

    def _resolved(
        self, places: list[tuple[str, str, str]], environ: Mapping[str, str], seconds: float
    ) -> Iterator[CheckFinding]:
        asked = {
            "paths": [str(path) for path in self._paths()],
            "places": [place[1:] for place in places],
        }
        lines, is_late = _asked(json.dumps(asked), self.folder, environ, seconds)
        answers = {at: answer for at, answer in lines if answer is not None}
        begun = {at for at, _ in lines}
        for at, (subject, _, place) in enumerate(places):
            if at in answers:
                yield CheckFinding(subject, *answers[at])
            elif at in begun and is_late:
                found = f"the import of {place} did not end in {seconds:g} s"
                yield CheckFinding(
                    subject, "failed", found, "do the slow work later than at import"
                )
            else:
                found = f"{place} was not reached: the process of the imports ended"
                yield CheckFinding(subject, "failed", found, "mend what was imported before it")

    def _paths(self) -> Iterator[Path]:
        yield self.folder
        given = self.content.get("dependencies")
        for path in given if isinstance(given, list) else ():
            if (self.folder / str(path)).is_dir():
                yield (self.folder / str(path)).absolute()


def read(path: Path) -> ServerConfig | CheckFinding:
    """Read a `langgraph.json`; return a finding if it is invalid."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return CheckFinding(path.name, "failed", f"{path} cannot be read", "correct the path")
    except ValueError as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        return CheckFinding(path.name, "failed", f"{path} is not JSON{line}", "correct it")
    if not isinstance(content, dict):
        return CheckFinding(path.name, "failed", f"{path} holds no object", "begin it with {")
    return ServerConfig(path, content)


def _inside(content: Mapping[str, Any], *names: str) -> Any:
    found: Any = content
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _asked(
    places: str, folder: Path, environ: Mapping[str, str], seconds: float
) -> tuple[list[Any], bool]:
    """Return the output of the import process, and whether it timed out."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lg_prod_nodes.cli.imports"],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    is_late = False
    try:
        said, _ = process.communicate(places.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        is_late = True
        _end(process)
        said, _ = process.communicate()
    return list(_lines(said)), is_late


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _lines(said: bytes) -> Iterable[Any]:
    for line in said.splitlines():
        with suppress(ValueError):
            yield json.loads(line)
