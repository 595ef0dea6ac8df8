from pathlib import Path
from typing import IO

import pytest

from dasc.callbacks.files import write_csv, write_whole


class Broken(Exception):
    pass


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("old", [None, b"old and whole"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def write(file: IO[bytes]) -> None:
        file.write(b"half of the new")
        file.flush()
        raise Broken

    with pytest.raises(Broken):
        write_whole(path, write)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == ([] if old is None else [("file", old)])


def test_the_old_file_stands_whole_until_the_new_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"new, and longer")
        file.flush()
        seen.append(path.read_bytes())

    write_whole(path, write)
    assert [*seen, path.read_bytes()] == [b"old", b"new, and longer"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], b"stage,accuracy,magnitude\n"),
        ([{"stage": 1, "accuracy": 0.5, "magnitude": "none"}], b"stage,accuracy,magnitude\n1,0.5,none\n"),
        ([{"magnitude": "[12, 4]", "stage": 2, "accuracy": None}], b'stage,accuracy,magnitude\n2,,"[12, 4]"\n'),
        (
            [{"stage": 0, "accuracy": 0.0, "magnitude": 0, "more": 9}, {"stage": 1, "accuracy": 1.0, "magnitude": ""}],
            b"stage,accuracy,magnitude\n0,0.0,0\n1,1.0,\n",
        ),
    ],
)
def test_a_table_is_its_header_and_rows_byte_for_byte_with_none_as_an_empty_cell(
    tmp_path: Path, rows: list[dict[str, object]], expected: bytes
) -> None:
    path = tmp_path / "stages.csv"
    path.write_bytes(b"x" * 1000)
    write_csv(path, rows, (name for name in ("stage", "accuracy", "magnitude")))
    assert path.read_bytes() == expected


def test_a_row_without_a_column_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "stages.csv"
    path.write_bytes(b"old")
    with pytest.raises(KeyError, match="accuracy"):
        write_csv(path, [{"stage": 1}], ("stage", "accuracy"))
    assert path.read_bytes() == b"old"
