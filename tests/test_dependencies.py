"""Every package that dasc imports is a declared dependency."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "dasc").rglob("*.py"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {name for extra, given in PROJECT["optional-dependencies"].items() if extra != "dev" for name in names(given)}
DISTRIBUTIONS = packages_distributions()
OPTIONAL = {"safetensors"}
"""Packages without an extra that are imported in functions: a teacher in its format needs it, and an error says so."""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the top-level modules of other packages that a file imports, and whether that is inside a function."""
    tree = ast.parse(path.read_text())
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        for module in modules:
            name = module.partition(".")[0]
            if name != "dasc" and name not in sys.stdlib_module_names:
                yield name, node in inside


def distributions(module: str) -> set[str]:
    return {canonicalize_name(name) for name in DISTRIBUTIONS.get(module, [module])}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imported_packages_are_dependencies_or_extras_that_are_imported_when_used(path: Path) -> None:
    for module, in_function in imports(path):
        allowed = CORE | EXTRAS | OPTIONAL if in_function else CORE
        assert distributions(module) & allowed, f"{module} is no dependency"


def test_the_imports_of_the_package_are_found() -> None:
    found = {name: distributions(name) for path in FILES for name, _ in imports(path)}
    assert found["yaml"] == {"pyyaml"}
    assert found["sklearn"] == {"scikit-learn"}
    assert found["matplotlib"] == {"matplotlib"}
    assert {"torch", "lightning", "jsonargparse"} | OPTIONAL <= found.keys()


def test_every_dependency_is_imported_or_its_reason_says_who_needs_it() -> None:
    used = {name for path in FILES for module, _ in imports(path) for name in distributions(module)}
    lines = (REPOSITORY / "pyproject.toml").read_text().splitlines()
    for name in (CORE | EXTRAS) - used:
        (line,) = (line for line in lines if re.match(rf' *"{name}[\[>=]', line))
        assert "#" in line, f"{name} is not imported"
