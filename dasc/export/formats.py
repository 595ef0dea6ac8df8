"""Table of the formats; the module of a format is imported when it is used."""

from importlib.util import find_spec
from pkgutil import resolve_name

from dasc.errors import UserError
from dasc.export.format import Format

FORMATS = {
    "onnx": "dasc.export.onnx_file:OnnxFormat",
    "safetensors": "dasc.export.safetensors_file:SafetensorsFormat",
    "sparse": "dasc.export.sparse_file:SparseFormat",
    "torch_export": "dasc.export.torch_export_file:TorchExportFormat",
    "state_dict": "dasc.export.state_dict_file:StateDictFormat",
}
"""`MODULE:CLASS` by the name of the format."""


def format_class(name: str, needed_by: str = "") -> type[Format]:
    """Return the class of a format.

    Args:
        name: Its name.
        needed_by: The file or option that needs it, for errors; `--format NAME` if it is empty.

    Raises:
        UserError: There is no such format, or a package that it needs is not installed.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format '{name}': known are {', '.join(FORMATS)}")
    kind: type[Format] = resolve_name(FORMATS[name])
    check_packages(needed_by or f"--format {name}", kind.packages)
    return kind


def check_packages(what: str, packages: tuple[str, ...]) -> None:
    """Check that packages of the extra `export` are installed.

    Args:
        what: The option that needs them.
        packages: Names of modules.

    Raises:
        UserError: One is not installed, and how to install it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"{what} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: run "
            "`pip install 'dasc[export]'`"
        )
