"""Archives of `torch.export.save`, reduced to what executes no code when it is loaded.

`torch.export.load` unpickles parts of an archive, imports what it names and evaluates its shape expressions as Python.
Only the entries and the texts that `dasc.export.torch_export_file` writes are passed on to it.
"""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch

from dasc.errors import UserError

METADATA = "dasc.json"
"""Name of the metadata among the extra files."""

_ENTRY = re.compile(
    r"\w+/(archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id"
    rf"|models/model\.json|extra/{re.escape(METADATA)}|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/(\w+\.json|model\.pt|weight_\d+|tensor_\d+))"
)
_IN = [
    1,
    {
        "type": "builtins.tuple",
        "context": "null",
        "children_spec": [
            {
                "type": "builtins.tuple",
                "context": "null",
                "children_spec": [{"type": None, "context": None, "children_spec": []}],
            },
            {"type": "builtins.dict", "context": "[]", "children_spec": []},
        ],
    },
]
_OUT = [1, {"type": None, "context": None, "children_spec": []}]
_NAME = re.compile(r"[\w.:+-]*")
_OPERATOR = r"torch\.ops\.aten\._?[a-zA-Z0-9]+(_[a-zA-Z0-9]+)*_?\.[a-zA-Z]\w*"
_TARGET = re.compile(rf"{_OPERATOR}|_operator\.(add|sub|mul|neg|floordiv)")
_FILES = "torch.ops.aten.from_file"
_FACTOR = r"(Symbol\('\w+'(, (positive|integer|nonnegative)=True)*\)|Integer\(-?\d{1,18}\)|-?\d{1,18})"
_EXPRESSION = re.compile(rf"((Add|Mul|Min|Max|FloorDiv|Mod)\(|\)|, |{_FACTOR})+")


class _RefusedError(Exception):
    """An archive with something that dasc does not write."""


def safe_archive(path: Path) -> BytesIO:
    """Return a copy of an archive for `torch.export.load`, without pickled objects.

    Args:
        path: The file.

    Returns:
        An archive that names operators of `torch.ops.aten` and arithmetic only.

    Raises:
        UserError: The file is missing, damaged, or has something that `dasc export` does not write.
    """
    copy = BytesIO()
    try:
        with ZipFile(copy, "w", ZIP_STORED) as target:
            for name, content in _entries(path).items():
                target.writestr(name, _checked(name, content))
    except _RefusedError as error:
        raise UserError(f"{path} must be a file of dasc export, but it has {error}: export it again") from None
    copy.seek(0)
    return copy


def read_extra(path: Path) -> str:
    """Return the text of the metadata in an archive; empty if it has none.

    Raises:
        UserError: The file is missing or damaged.
    """
    for name, content in _entries(path).items():
        if name.endswith(f"/extra/{METADATA}"):
            return content.decode(errors="replace")
    return ""


def _entries(path: Path) -> dict[str, bytes]:
    """Read the entries of an archive, which are stored without compression."""
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    try:
        with ZipFile(path) as archive:
            infos = archive.infolist()
            if any(info.compress_type != ZIP_STORED for info in infos):
                raise BadZipFile
            if sum(info.file_size for info in infos) > path.stat().st_size:
                raise BadZipFile
            return {info.filename: archive.read(info) for info in infos}
    except Exception:  # whatever bytes make of the parser
        raise UserError(f"{path} is no archive of torch.export, or it is truncated: export it again") from None


def _checked(name: str, content: bytes) -> bytes:
    """Return the content of an entry, from which pickled code is removed.

    Raises:
        _RefusedError: It may execute code.
    """
    if _ENTRY.fullmatch(name) is None:
        raise _RefusedError(f"an entry {name[:80]!r}")
    try:
        if name.endswith(".json") and "/extra/" not in name:
            _check_json(json.loads(content), "")
        if name.endswith(".pt"):
            buffer = BytesIO()
            torch.save(torch.load(BytesIO(content), map_location="cpu", weights_only=True), buffer)
            return buffer.getvalue()
    except _RefusedError:
        raise
    except Exception:
        raise _RefusedError(f"a damaged entry {name}") from None
    return content


def _check_json(value: Any, key: str) -> None:
    """Check all texts of a graph or of a table of tensors.

    Args:
        value: The parsed JSON, or a part of it.
        key: The key of the part.
    """
    if value and key in ("use_pickle", "metadata", "guards_code"):
        raise _RefusedError(f"a value of {key}")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_json(name, "")
            _check_json(part, name)
    elif isinstance(value, list):
        for part in value:
            _check_json(part, key)
    elif isinstance(value, str) and not _is_allowed(value, key):
        raise _RefusedError(f"the text {value[:80]!r}")


def _is_allowed(text: str, key: str) -> bool:
    """Return whether a text of a graph is one that dasc writes."""
    if key == "target":
        return _TARGET.fullmatch(text) is not None and not text.startswith(_FILES)
    if key == "expr_str":
        return _EXPRESSION.fullmatch(text) is not None
    if key in ("in_spec", "out_spec"):
        return json.loads(text) in (_IN, _OUT)
    return _NAME.fullmatch(text) is not None
