"""`lg-prod-nodes check`: validate settings, `langgraph.json` and everything they name."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from dotenv import dotenv_values

from lg_prod_nodes.cli.arguments import named
from lg_prod_nodes.cli.checks import Check, CheckFinding, run_all, within
from lg_prod_nodes.cli.server import ServerConfig, read
from lg_prod_nodes.cli.services import checks_of, unknown_names
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.service.settings import Settings

_DEFAULT = Path("langgraph.json")
_COLORS = {"ok": "green", "warning": "yellow", "failed": "red"}


def add_check(commands: object) -> None:
    """Add the `check` subcommand to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        "check", help="whether settings, langgraph.json and every connection work"
    )
    parser.add_argument(
        "--langgraph-json", type=Path, metavar="PATH", help="that file (./langgraph.json, if any)"
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="PATH", help="variables besides those of the environment"
    )
    parser.add_argument(
        "--settings", metavar="MODULE:NAME", help="a subclass of Settings, to be checked instead"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=5.0, help="seconds to wait for each answer (5)"
    )
    parser.add_argument(
        "--import-timeout", type=_seconds, default=60.0, help="seconds for all imports (60)"
    )
    parser.add_argument("--json", action="store_true", help="for other programs")
    parser.set_defaults(run=show_check)


def show_check(given: argparse.Namespace) -> int:
    """Run `check`; return the exit code."""
    findings = find_all(given)
    if given.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        _print(findings)
    return int(any(finding.status == "failed" for finding in findings))


def find_all(given: argparse.Namespace) -> list[CheckFinding]:
    """Return the findings of all checks."""
    findings: list[CheckFinding] = []
    config = _server_config(given.langgraph_json)
    if isinstance(config, CheckFinding):
        findings.append(config)
        config = None
    with _environment(given.env_file, config):
        found, checks = _settings_checks(given, config)
        environ = dict(os.environ)
        findings += found
        if config is not None:
            checks |= config.checks(environ, given.import_timeout)
        patience = max(4 * given.timeout, given.import_timeout if config else 0) + 10
        return findings + run_all(checks, patience)


def _settings_checks(
    given: argparse.Namespace, config: ServerConfig | None
) -> tuple[list[CheckFinding], dict[str, Check]]:
    kind = within(given.import_timeout, lambda: _settings_type(given.settings))
    unknown = list(unknown_names(kind, {**dotenv_values(".env"), **os.environ}))
    try:
        settings = within(4 * given.timeout, kind)
    except ConfigurationError as error:
        return [*unknown, CheckFinding("settings", "failed", str(error), "correct them")], {}
    except Exception as error:  # raised by a secret manager; its message may contain anything
        found = f"a source failed with {type(error).__name__}"
        return [
            *unknown,
            CheckFinding("settings", "failed", found, "see whether it lets you in"),
        ], {}
    checks = checks_of(
        settings,
        seconds=given.timeout,
        pools=config.pools if config else 1,
        has_index=config is not None and config.has_index,
    )
    return unknown or [CheckFinding("settings", "ok", "valid")], checks


def _settings_type(place: str | None) -> type[Settings]:
    if place is None:
        return Settings
    try:
        found = named(place)
    except Exception as error:  # its message may contain anything
        raise ConfigurationError(
            f"the settings at {place!r} cannot be imported: {type(error).__name__}"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise ConfigurationError(
            f"there are no settings at {place!r}; give MODULE:NAME of a subclass of Settings"
        )
    return found


def _server_config(path: Path | None) -> ServerConfig | CheckFinding | None:
    if path is None and not _DEFAULT.exists():
        return None
    return read(path or _DEFAULT)


@contextmanager
def _environment(env_file: Path | None, config: ServerConfig | None) -> Generator[None]:
    """Provide the environment that the service will have."""
    if env_file is not None and not env_file.is_file():
        raise ConfigurationError(f"there is no file {env_file}; correct --env-file")
    before = dict(os.environ)
    os.environ.update(_missing(dotenv_values(env_file) if env_file else {}, before))
    os.environ.update(config.environment if config else {})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _missing(values: Mapping[str, str | None], present: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value and name not in present}


def _print(findings: Sequence[CheckFinding]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        _print_plain(findings)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        status = Text(finding.status, style=_COLORS[finding.status])
        cells = (finding.subject, finding.found, finding.advice)
        table.add_row(status, *map(Text, cells))
    Console().print(table)


def _print_plain(findings: Sequence[CheckFinding]) -> None:
    for finding in findings:
        advice = f"; {finding.advice}" if finding.advice else ""
        sys.stdout.write(f"{finding.status:<8} {finding.subject}: {finding.found}{advice}\n")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds, more than 0")
    return seconds
