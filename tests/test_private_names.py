"""The private names of other packages that dasc relies on."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from packaging.requirements import Requirement
from packaging.version import Version

from dasc.private_names import PRIVATE_NAMES, PrivateName

PACKAGE = Path(__file__).parents[1] / "dasc"
FILES = {path: path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "private_names.py"}

PUBLIC = {"_asdict", "_replace"}
"""Documented methods of named tuples."""


def _owner(path: str) -> Any:
    try:
        return import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(import_module(module), name)


def _problem(name: PrivateName) -> str | None:
    """Return what is not as dasc relies on it; a name of instances has to be in the source of the class."""
    owner = _owner(name.owner)
    found = getattr(owner, name.name, None)
    if name.parameters is not None:
        if not callable(found):
            return "is no method"
        given = tuple(list(inspect.signature(found).parameters)[1:])
        return None if given == name.parameters else f"has the parameters {given}, not {name.parameters}"
    classes = [kind for kind in inspect.getmro(owner) if kind is not object] if inspect.isclass(owner) else []
    in_source = any(re.search(rf"\b{name.name}\b", inspect.getsource(kind)) for kind in classes)
    return None if found is not None or in_source else "is gone"


def broken(names: Iterable[PrivateName]) -> list[str]:
    problems = [(name, _problem(name)) for name in names]
    return [f"{name.owner}.{name.name} {what}: {name.reason}" for name, what in problems if what is not None]


def test_all_private_names_are_as_dasc_relies_on_them() -> None:
    assert broken(PRIVATE_NAMES) == [], f"Lightning {lightning.__version__}"


def test_a_name_that_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor")
    monkeypatch.setattr(_SignalConnector, "_sigterm_notifier_fn", lambda self, signum: None)
    first, second = broken(PRIVATE_NAMES)
    assert "_SignalConnector._sigterm_notifier_fn has the parameters ('signum',), not ('signum', '_')" in first
    assert "_TrainingEpochLoop._broadcast_sigterm_tensor is no method" in second
    (third,) = broken([PrivateName("lightning.pytorch.loggers.CSVLogger", "_no_such_name", "nothing")])
    assert third == "lightning.pytorch.loggers.CSVLogger._no_such_name is gone: nothing"


def _used() -> Iterator[tuple[str, str]]:
    """Yield the private names of other packages in dasc, with their places.

    Those are attributes, imports and names in setattr that no file of dasc defines.
    """
    trees = {path: ast.parse(text) for path, text in FILES.items()}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    defined = set()
    for _, node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            defined.add(node.attr)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
    for path, node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("dasc"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "delattr", "hasattr"):
            names = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
        for name in names:
            if re.match(r"_[A-Za-z]", name) and name not in defined | PUBLIC:
                yield name, str(path.relative_to(PACKAGE))


def test_no_other_private_name_is_used() -> None:
    listed = {name.name for name in PRIVATE_NAMES}
    used = dict(_used())
    assert {name: place for name, place in used.items() if name not in listed} == {}
    assert {"_sigterm_notifier_fn", "_signal_connector", "_kwargs", "_foreach_mul_"} <= used.keys()


@pytest.mark.parametrize("name", sorted({name.name for name in PRIVATE_NAMES}))
def test_all_listed_names_are_used(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", text) for text in FILES.values())


def test_lightning_is_kept_below_its_next_minor_release() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    (lightning_range,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "lightning"]
    installed = Version(lightning.__version__)
    following = f"{installed.major}.{installed.minor + 1}.0"
    assert installed in lightning_range.specifier
    assert not lightning_range.specifier.contains(following)
