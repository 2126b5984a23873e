"""Imports Presidio without spaCy and other language model libraries until they are used.

Presidio imports these libraries for its type annotations and NLP engines, which takes most of its import time. Here its
modules get stand-ins that import the real library on first use. Nothing else in the process sees the stand-ins: `import
spacy` and `sys.modules` work as usual.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar, cast

_T = TypeVar("_T")

_LATER = ("azure", "spacy", "stanza", "thinc", "transformers")
_OF_EACH_CLASS = ("__dict__", "__weakref__")
_LOGGERS = ("presidio-analyzer", "decision_process")


def load_presidio() -> None:
    """Import Presidio, keep the texts that it scans out of all logs, and keep the process offline."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_nothing)
    if "presidio_analyzer" not in sys.modules:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module("presidio_analyzer")
        finally:
            sys.meta_path.remove(finder)
            finder.is_importing = False
    importlib.import_module("presidio_analyzer")
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    _take_bundled_suffixes()


def _take_bundled_suffixes() -> None:
    """Make Presidio's `EmailRecognizer` use the installed list of public suffixes instead of fetching one."""
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    module = vars(sys.modules[EmailRecognizer.__module__])
    if isinstance(module.get("tldextract"), ModuleType):
        module["tldextract"] = SimpleNamespace(extract=_extracted)


def _extracted(host: str) -> Any:
    from lg_prod_nodes.detectors.recognizers.hosts import bundled_suffixes

    return bundled_suffixes()(host)


def _nothing(_: logging.LogRecord) -> bool:
    return False


class _Finder(MetaPathFinder):
    """Finds Presidio's modules and defers some of their imports."""

    def __init__(self) -> None:
        self.is_importing = True
        self.later = {package for package in _LATER if package not in sys.modules}
        self.pending: list[Callable[[], object]] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("presidio_analyzer."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(Loader):
    """Runs a module whose import statements go through `_imported`."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if spec := module.__spec__:
            spec.loader = module.__loader__ = self._loader
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._imported}
        self._loader.exec_module(module)
        vars(module)["__builtins__"] = builtins

    def _imported(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        package = name.partition(".")[0]
        can_wait = not level and self._finder.is_importing and package in self._finder.later
        # A missing library is imported now, because Presidio tests for it by trying.
        if can_wait and _is_installed(name):
            return cast("ModuleType", _Later(self._finder, name if fromlist else package))
        return builtins.__import__(name, globals, locals, fromlist or (), level)


def _is_installed(module: str) -> bool:
    """Whether the distribution of a module is installed; only namespaces such as `azure` are shared by several."""
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is not None:
            return spec is not None
    return True


class _Later:
    """A module, or a part of one, that is imported on first use.

    While Presidio is imported, a call is a decorator that registers something with spaCy, and a base class is one of
    spaCy's. Both take effect when spaCy is first used.
    """

    def __init__(self, finder: _Finder, module: str, *names: str) -> None:
        self._finder, self._module, self._names = finder, module, names

    def _real(self) -> Any:
        module = importlib.import_module(self._module)
        while self._finder.pending:
            self._finder.pending.pop(0)()
        return reduce(getattr, self._names, module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._finder.is_importing:
            return _Later(self._finder, self._module, *self._names, name)
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._finder.is_importing:
            return self._real()(*args, **kwargs)

        def decorate(decorated: _T) -> _T:
            self._finder.pending.append(lambda: self._real()(*args, **kwargs)(decorated))
            return decorated

        return decorate

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[type, ...]:
        if not self._finder.is_importing:
            return (self._real(),)
        base = self

        class Later:
            def __init_subclass__(cls) -> None:
                base._finder.pending.append(lambda: _derive(cls, base._real()))

        return (Later,)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())


def _derive(made: type, base: type) -> None:
    """Replace a class by one with its real base."""
    names = {name: value for name, value in vars(made).items() if name not in _OF_EACH_CLASS}
    setattr(sys.modules[made.__module__], made.__name__, type(made.__name__, (base,), names))
