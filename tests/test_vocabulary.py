"""The names of the package: one thing, one name, in the words of the field."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import lg_prod_nodes

PACKAGE = Path(lg_prod_nodes.__file__).parent

BANNED = frozenset({"told", "hears", "leans", "leaning", "led"})
"""Words for which the field has a term: emitted, listens, depends, patched."""

SHARED = {
    "Deadline": "a public policy, and the moment at which a scan inside of the detectors has to end",
    "main": "the entry points of programs",
    "needed": "what a search for telephone numbers needs, and what an expression needs",
    "interrupts": "a law, for nodes and for graphs",
    "cancellations": "a law, for nodes and for graphs",
}
"""Names that two modules may have, and why."""


def test_no_class_or_public_function_has_the_name_of_another() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module, name in _definitions():
        homes[name].append(module)
    shared = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert {name: shared[name] for name in shared.keys() - SHARED.keys()} == {}
    assert SHARED.keys() - shared.keys() == set(), "an exception that nobody needs any more"


def test_no_name_has_a_word_for_which_the_field_has_a_term() -> None:
    found = {
        f"{module}: {name}" for module, name in _names() if not BANNED.isdisjoint(_words(name))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_told_output", ["told", "output"]),
        ("HTTPErrorTold", ["http", "error", "told"]),
        ("is_settled", ["is", "settled"]),
        ("called2", ["called"]),
    ],
)
def test_names_are_split_into_words(name: str, words: list[str]) -> None:
    assert _words(name) == words


def _definitions() -> Iterator[tuple[str, str]]:
    """Classes at any depth, and public functions of modules, each once a module."""
    for module, tree in _modules().items():
        classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_"
        }
        yield from ((module, name) for name in classes | functions)


def _names() -> Iterator[tuple[str, str]]:
    for module, tree in _modules().items():
        yield module, Path(module).stem
        yield from ((module, name) for node in ast.walk(tree) if (name := _name_of(node)))


def _name_of(node: ast.AST) -> str | None:
    """The name that a node introduces or reads from an object of ours."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name):
            return name
    return None


@cache
def _modules() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
