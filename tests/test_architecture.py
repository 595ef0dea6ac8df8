"""The structure of the package: sizes, imports without cycles, and parts that work without Lightning."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dasc

PACKAGE = Path(dasc.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0].lineno if ast.get_docstring(node) is None else node.body[0].end_lineno
            assert node.end_lineno is not None
            assert first is not None
            body = node.end_lineno - first + 1
            assert body <= 40, f"{node.name} has {body} lines"


def imports_of(path: Path) -> Iterator[str]:
    """The modules of dasc that a file imports as it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def test_imports_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        package = name.rpartition(".")[0]
        # a package that imports its own parts is the same node as its `__init__`, which they do not need
        graph[name] = {
            f"{found}.__init__" if (PACKAGE.parent / found.replace(".", "/")).is_dir() else found
            for found in imports_of(path)
            if found in MODULES and found != package
        }
    TopologicalSorter(graph).prepare()


LIBRARIES = ("stages", "augment", "networks", "pruning", "metrics", "losses", "checkpoint", "data.pipeline")


def test_the_numerical_parts_work_without_lightning() -> None:
    lines = [f"import dasc.{name}" for name in LIBRARIES]
    check = "assert not [name for name in sys.modules if name.partition('.')[0] == 'lightning']"
    subprocess.run([sys.executable, "-c", "\n".join(["import sys", *lines, check])], check=True)
