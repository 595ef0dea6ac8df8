"""Files of the format torch_export, and archives that would execute code."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
import torch

import dasc
from dasc.errors import UserError
from dasc.export.format import Model
from dasc.export.metadata import Metadata
from dasc.export.torch_export_file import TorchExportFormat
from tests.support.exported import model_of
from tests.support.exported_networks import Branching, Tiny, cases, check_outputs, make

Entries = dict[str, bytes]


@pytest.fixture(scope="module", params=cases())
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    model = make(*request.param)
    path = tmp_path_factory.mktemp("pt2") / "a.pt2"
    TorchExportFormat().write(model, path)
    return model, path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "tiny.pt2"
    TorchExportFormat().write(model_of(Tiny(), 8), path)
    return path


def test_a_file_agrees_with_the_network(written: tuple[Model, Path]) -> None:
    model, path = written
    check_outputs(model, TorchExportFormat().open(path), model.metadata.preprocess)


def test_a_file_is_readable_by_torch_and_has_the_metadata(written: tuple[Model, Path]) -> None:
    model, path = written
    assert Metadata.from_strings(TorchExportFormat().read_metadata(path), path) == model.metadata
    extra = {"dasc.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["dasc.json"]) == model.metadata.to_strings()
    check_outputs(model, module, model.metadata.preprocess)


def test_a_file_has_no_trace_of_the_source(written: tuple[Model, Path]) -> None:
    content = written[1].read_bytes()
    assert str(Path(dasc.__file__).parent).encode() not in content
    assert b"stack_trace" not in content


def test_exporting_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TorchExportFormat().write(model_of(Tiny(), 8), tmp_path / "a.pt2")
    TorchExportFormat().open(tmp_path / "a.pt2")
    with pytest.raises(UserError, match=r"Branching cannot be exported by torch.export") as raised:
        TorchExportFormat().write(model_of(Branching(), 8), tmp_path / "b.pt2")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2"]
    assert capfd.readouterr() == ("", "")


def entries(path: Path) -> Entries:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, content: Entries, compression: int = ZIP_STORED) -> None:
    with ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def replaced(name: str, before: str, after: str) -> Callable[[Entries], Entries]:
    def change(content: Entries) -> Entries:
        assert before.encode() in content[name]
        return {**content, name: content[name].replace(before.encode(), after.encode())}

    return change


class Touch:
    """An object whose unpickling creates a file."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(), buffer)
    return buffer.getvalue()


MODEL = "archive/models/model.json"
SYMBOL = "Symbol('"
ATTACKS: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "pickled inputs": (lambda e: {**e, "archive/data/sample_inputs/model.pt": pickled()}, "a damaged entry"),
    "pickled weights": (lambda e: {**e, "archive/data/weights/model.pt": pickled()}, "a damaged entry"),
    "pickled weight": (
        replaced("archive/data/weights/model_weights_config.json", '"use_pickle": false', '"use_pickle": true'),
        "a value of use_pickle",
    ),
    "pickled constant": (lambda e: {**e, "archive/data/constants/opaque_obj_0": b""}, "an entry"),
    "native code": (lambda e: {**e, "archive/data/aotinductor/model/a.so": b""}, "an entry"),
    "an expression": (
        replaced(MODEL, SYMBOL, "__import__('pathlib').Path('executed').touch() or Symbol('"),
        "the text",
    ),
    "a function": (replaced(MODEL, "torch.ops.aten.relu.default", "torch.os.system"), "the text 'torch.os.system'"),
    "a method": (replaced(MODEL, "torch.ops.aten.relu.default", "torch.ops.aten.__class__.mro"), "the text"),
    "a file": (replaced(MODEL, "torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"), "the text"),
    "a structure": (replaced(MODEL, '\\"builtins.tuple\\"', '\\"subprocess.Popen\\"'), "the text"),
    "a guard": (replaced(MODEL, '"guards_code": []', '"guards_code": ["exit()"]'), "a value of guards_code"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_that_may_execute_code_is_refused(attack: str, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    change, sentence = ATTACKS[attack]
    rewrite(path, change(entries(tiny)))
    with pytest.raises(UserError, match=f"a.pt2 must be a file of dasc export, but it has {sentence}"):
        TorchExportFormat().open(path)
    assert not Path("executed").exists()


def test_the_same_archive_executes_code_if_torch_loads_it(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    rewrite(path, ATTACKS["pickled inputs"][0](entries(tiny)))
    try:
        torch.export.load(path)
    except Exception:
        pass
    assert Path("executed").exists()


def test_an_archive_without_changes_is_loaded_after_rewriting(tiny: Path, tmp_path: Path) -> None:
    rewrite(tmp_path / "a.pt2", entries(tiny))
    images = torch.rand(3, 3, 8, 8)
    copied, original = (TorchExportFormat().open(path)(images) for path in (tmp_path / "a.pt2", tiny))
    assert torch.equal(copied, original)


def test_archives_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    torch.export.save(torch.export.export(Tiny().eval(), (torch.zeros(2, 3, 8, 8),)), path)
    with pytest.raises(UserError, match="must be a file of dasc export, but it has a value of metadata"):
        TorchExportFormat().open(path)
    assert TorchExportFormat().read_metadata(path) == {}


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "empty": lambda path, tiny: path.write_bytes(b""),
    "half": lambda path, tiny: path.write_bytes(tiny.read_bytes()[:2000]),
    "last byte": lambda path, tiny: path.write_bytes(tiny.read_bytes()[:-1]),
    "text": lambda path, tiny: path.write_text("no archive"),
    "compressed": lambda path, tiny: rewrite(path, entries(tiny), ZIP_DEFLATED),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_ends_in_one_sentence(damage: str, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    DAMAGE[damage](path, tiny)
    for call in (TorchExportFormat().open, TorchExportFormat().read_metadata):
        with pytest.raises(UserError, match=r"a.pt2 is no archive of torch.export, or it is truncated"):
            call(path)


def test_missing_parts_end_in_one_sentence(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pt2"
    with pytest.raises(UserError, match="there is no file"):
        TorchExportFormat().open(path)
    for name in (MODEL, "archive/data/weights/weight_0", "archive/archive_version"):
        rewrite(path, {key: value for key, value in entries(tiny).items() if key != name})
        with pytest.raises(UserError, match=r"a.pt2 cannot be loaded by torch.export") as raised:
            TorchExportFormat().open(path)
        assert "\n" not in str(raised.value)
    rewrite(path, {**entries(tiny), "archive/extra/dasc.json": b"["})
    with pytest.raises(UserError, match="its metadata are wrong"):
        TorchExportFormat().read_metadata(path)
    assert capfd.readouterr() == ("", "")
