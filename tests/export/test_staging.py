"""New files are complete before they are in their folder."""

from pathlib import Path

import pytest

from dasc.errors import UserError
from dasc.export.staging import staged


@pytest.mark.parametrize("exists", [True, False])
def test_files_are_written_where_the_folder_can_be_written_to(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "out"
    if exists:  # what is above may be read-only, or on another disk
        folder.mkdir(parents=True)
        (folder / "old.txt").touch()
    with staged(folder, ["old.txt", "new.txt"]) as staging:
        assert staging.parent == (folder if exists else folder.parent)
        (staging / "new.txt").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("exists", [True, False])
def test_an_error_leaves_what_was_there(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "out"
    if exists:
        folder.mkdir(parents=True)
        (folder / "old.txt").touch()
    with pytest.raises(UserError), staged(folder, ["old.txt", "new.txt"]) as staging:
        (staging / "no folder" / "new.txt").touch()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == ({"above", "above/out", "above/out/old.txt"} if exists else set())
