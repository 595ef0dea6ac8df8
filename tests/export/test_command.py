"""`dasc export`: the files of a checkpoint, what is kept, and the folder."""

import copy
import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.cli.export import make_parser
from dasc.data import ImageData
from dasc.export import formats
from dasc.export import int8 as int8_module
from dasc.export.formats import FORMATS, format_class
from dasc.export.state_dict_file import StateDictFormat
from dasc.networks import CifarResNet, set_auxiliary_blocks
from tests.support.checkpoints import LAST, train
from tests.support.errors import exit_message

ALL = ",".join(FORMATS)
FAST = ("--latency_seconds", "0")
FILES = {
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "sparse": "model.sparse.safetensors",
    "torch_export": "model.pt2",
    "state_dict": "model.pt",
}
CARDS = {"model_card.json", "model_card.md"}


@pytest.fixture(scope="session")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a ResNet8 with 60 % zeros."""
    return train(tmp_path_factory.mktemp("pruned"), depth=8)


@pytest.fixture(scope="session")
def everything(pruned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of its last checkpoint."""
    folder = tmp_path_factory.mktemp("everything") / "export"
    words = ["--format", ALL, "--int8", "--max_drop", "100", "--latency_seconds", "0.2", "--output", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        main(["export", "--ckpt_path", str(pruned / LAST), *words])
    return folder


def export(*words: object) -> None:
    main(["export", *map(str, words)])


def card_of(folder: Path) -> Any:
    return json.loads((folder / "model_card.json").read_text())


def validation_images(checkpoint: Path, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The validation images of the run: pixels, normalised, and their classes."""
    data = ImageData(**(settings or {"dataset": "digits", "train_size": 256}))
    data.setup("validate")
    batches = list(data.val_dataloader())
    pixels = torch.cat([batch.images for batch in batches])
    return pixels, data.pipeline.normalise(pixels), torch.cat([batch.targets for batch in batches])


def plain_network(checkpoint: Path, make: Callable[[], nn.Module]) -> nn.Module:
    """The network of a checkpoint by torch alone: the tensors under `network.`, without auxiliary blocks."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    own = {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}
    network = make()
    network.load_state_dict({name: tensor for name, tensor in own.items() if ".auxiliary." not in name})
    return network.eval()


def outputs_of(folder: Path, name: str, images: Tensor) -> Tensor:
    with torch.no_grad():
        return format_class(name)().open(folder / FILES[name])(images)


def test_all_formats_compute_what_the_checkpoint_does(pruned: Path, everything: Path) -> None:
    _, images, _ = validation_images(pruned / LAST)
    with torch.no_grad():
        expected = plain_network(pruned / LAST, lambda: CifarResNet(10, depth=8))(images)
    for name in FORMATS:
        torch.testing.assert_close(outputs_of(everything, name, images), expected, atol=1e-4, rtol=0)
    assert {path.name for path in everything.iterdir()} == {*FILES.values(), "model.int8.onnx", *CARDS}
    assert all(path.stat().st_mode & 0o044 for path in everything.iterdir()), "others may read the files"


def test_the_card_has_the_accuracy_and_the_sizes(pruned: Path, everything: Path) -> None:
    _, images, targets = validation_images(pruned / LAST)
    network = plain_network(pruned / LAST, lambda: CifarResNet(10, depth=8))
    with torch.no_grad():
        share = (network(images).argmax(1) == targets).double().mean().item()
    card = card_of(everything)
    (result,) = card["results"]
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(share, abs=1e-6)
    assert result["images"] == len(targets)
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert card["network"]["zero_weights"] == sum(int((weight == 0).sum()) for weight in weights)
    assert card["network"]["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    sizes = {file["name"]: file["bytes"] for file in card["files"]}
    assert sizes == {path.name: path.stat().st_size for path in everything.iterdir() if path.name not in CARDS}
    agreed = {file["format"]: file["agreement"]["images"] for file in card["files"] if file["format"] != "int8"}
    assert agreed == dict.fromkeys(FORMATS, len(targets))
    measured = {(row["name"], row["runtime"], row["batch"]) for row in card["latencies"]}
    on_onnx = {(name, "ONNX Runtime") for name in ("dense network", "model.onnx", "model.int8.onnx")}
    rows = on_onnx | {(name, "PyTorch") for name in ("dense network", "network")}
    assert measured == {(*row, batch) for row in rows for batch in (1, 64)}
    assert "zeros: " in card["gain"]
    assert "int8: " in card["gain"]


def test_int8_is_counted_on_the_validation_images(pruned: Path, everything: Path) -> None:
    import onnxruntime

    _, images, targets = validation_images(pruned / LAST)
    counts = []
    for name in ("model.onnx", "model.int8.onnx"):
        session = onnxruntime.InferenceSession(str(everything / name), providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"images": images.numpy()})
        counts.append(int((logits.argmax(1) == targets.numpy()).sum()))
    (file,) = [file for file in card_of(everything)["files"] if file["format"] == "int8"]
    found = [round(file["quantisation"][name]["value"] * len(targets)) for name in ("before", "after")]
    assert found == counts


def test_preprocessing_is_in_the_graphs_only(pruned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    words = ("--format", "torch_export,state_dict", "--preprocess", *FAST, "--output", folder)
    export("--ckpt_path", pruned / LAST, *words)
    pixels, images, _ = validation_images(pruned / LAST)
    with torch.no_grad():
        logits = plain_network(pruned / LAST, lambda: CifarResNet(10, depth=8))(images)
    torch.testing.assert_close(outputs_of(folder, "torch_export", pixels), logits.softmax(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs_of(folder, "state_dict", images), logits, atol=1e-5, rtol=0)
    assert card_of(folder)["latencies"] == []


def test_auxiliary_blocks_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [{"epochs": 1, "magnitude": 9, "auxiliary": 1}]
    train(tmp_path, stages=stages, depth=8)
    capsys.readouterr()
    export("--ckpt_path", "last", "--format", "sparse", "--zstd", *FAST)
    _, images, targets = validation_images(tmp_path / LAST)
    whole, _, _ = load_network(tmp_path / LAST)
    own = copy.deepcopy(whole)
    set_auxiliary_blocks(own, 0)
    with torch.no_grad():
        shares = [100 * (network(images).argmax(1) == targets).double().mean().item() for network in (own, whole)]
    texts = f"accuracy without {shares[0]:.2f} %, with them {shares[1]:.2f} %, on {len(targets)} validation images"
    assert f"left out: 1 auxiliary block, {texts}" in capsys.readouterr().out
    folder = tmp_path / "lightning_logs" / "version_0" / "export"
    assert {path.name for path in folder.iterdir()} == {"model.sparse.safetensors.zst", *CARDS}
    assert card_of(folder)["results"][0]["metrics"]["accuracy"]["value"] == pytest.approx(shares[0] / 100, abs=1e-6)


def test_a_file_that_does_not_agree_is_not_kept(
    pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = StateDictFormat.write

    def write_other(self: StateDictFormat, model: Any, path: Path) -> None:
        other = copy.deepcopy(model.network)
        other.fc.bias.data[3] += 0.01
        write(self, type(model)(other, model.metadata), path)

    monkeypatch.setattr(StateDictFormat, "write", write_other)
    words = ("--ckpt_path", pruned / LAST, *FAST, "--output", tmp_path / "export")
    with pytest.raises(SystemExit) as stop:
        export(*words, "--format", "state_dict,sparse")
    assert stop.value.code == 1
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"model.sparse.safetensors", *CARDS}
    sentence = capsys.readouterr().err
    assert sentence.startswith("dasc export: model.pt does not agree with the network on ")
    assert "largest difference 1.0e-02" in sentence
    with pytest.raises(SystemExit) as stop:
        export(*words[:-1], tmp_path / "none", "--format", "state_dict")
    assert stop.value.code == 1
    assert os.listdir(tmp_path) == ["export"]


def test_an_int8_file_that_loses_too_much_is_not_kept(
    pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    def one_class(source: Path, output: Path, batches: Iterable[Tensor]) -> None:
        assert sum(map(len, batches)) == 256  # all training images, fewer than 512
        model = onnx.load(str(source))
        name = model.graph.output[0].name
        model.graph.output[0].name = "logits"
        (last,) = [node for node in model.graph.node if name in node.output]
        last.output[0] = "before"
        model.graph.initializer.append(onnx.helper.make_tensor("factor", onnx.TensorProto.FLOAT, [], [0.0]))
        model.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], [name]))
        output.write_bytes(model.SerializeToString())

    monkeypatch.setattr(int8_module, "quantise", one_class)
    with pytest.raises(SystemExit) as stop:
        export("--ckpt_path", pruned / LAST, "--int8", *FAST, "--output", tmp_path / "export")
    assert stop.value.code == 1
    _, images, targets = validation_images(pruned / LAST)
    with torch.no_grad():
        right = int((plain_network(pruned / LAST, lambda: CifarResNet(10, depth=8))(images).argmax(1) == targets).sum())
    drop = 100 * (right - int((targets == 0).sum())) / len(targets)  # the first of equal logits is class 0
    sentence = capsys.readouterr().err
    assert f"{drop:.2f} points below" in sentence
    assert "not kept: it loses more than --max_drop 1" in sentence
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"model.onnx", *CARDS}


def test_an_earlier_export_is_replaced_as_a_whole(
    pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--ckpt_path", pruned / LAST, *FAST, "--output", tmp_path / "export")
    export(*words, "--format", "state_dict,sparse")
    (tmp_path / "export" / "notes.txt").touch()
    message = exit_message([*map(str, ("export", *words, "--format", "safetensors"))], capsys)
    assert "add --overwrite to replace the files of an earlier export" in message
    export(*words, "--format", "safetensors", "--overwrite")
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert names == {"model.safetensors", *CARDS, "notes.txt"}


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "--output must be a folder with space"),
        (KeyboardInterrupt(), 130, "dasc export: interrupted, no files are written"),
    ],
    ids=["a full disk", "Ctrl-C"],
)
def test_nothing_half_written_is_left(
    error: BaseException,
    status: int,
    says: str,
    pruned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = StateDictFormat.write

    def fail(self: StateDictFormat, model: Any, path: Path) -> None:
        write(self, model, path)
        raise error

    monkeypatch.setattr(StateDictFormat, "write", fail)
    words = ("--format", "sparse,state_dict", "--output", tmp_path / "new" / "export")
    with pytest.raises(SystemExit) as stop:
        export("--ckpt_path", pruned / LAST, *words)
    assert stop.value.code == status
    assert says in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_results_on_test_images_are_in_the_card(pruned: Path, tmp_path: Path) -> None:
    words = ("--config", pruned / "config.yaml", "--ckpt_path", pruned / LAST)
    root = ("--trainer.default_root_dir", pruned, "--trainer.logger", "false")
    main(["test", *map(str, (*words, *root))])
    export("--ckpt_path", pruned / LAST, "--format", "state_dict", *FAST, "--output", tmp_path / "export")
    (record,) = json.loads((pruned / "lightning_logs" / "version_0" / "test.json").read_text())
    validation, test = card_of(tmp_path / "export")["results"]
    assert (validation["part"], test["part"]) == ("validation", "test")
    assert test["metrics"]["accuracy"]["value"] == record["metrics"]["accuracy"]
    assert test["images"] == record["images"]


RUNS: dict[str, dict[str, Any]] = {
    "trained in bf16": {"depth": 8, "precision": "bf16-mixed"},
    "a student": {
        "depth": 8,
        "model": {
            "class_path": "DistilledClassifier",
            "init_args": {"teacher": {"path": "teacher.pt", "network": "CifarResNet", "network_args": {"depth": 14}}},
        },
    },
    "half of the channels": {
        "depth": 8,
        "stages": [{"epochs": 1}, {"epochs": 1, "channels": 0.5, "sparsity": 0.3}],
    },
    "dropped auxiliary blocks": {
        "depth": 8,
        "stages": [{"epochs": 1, "auxiliary": 2}, {"epochs": 1, "auxiliary": 0, "sparsity": 0.6}],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_all_formats_of_other_runs_agree(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(CifarResNet(10, depth=14).state_dict(), tmp_path / "teacher.pt")
    train(tmp_path, **copy.deepcopy(RUNS[name]))
    export("--ckpt_path", "last", "--format", ALL, *FAST, "--output", "plain")
    found = capsys.readouterr().out
    assert len(re.findall(r"agrees with the network on \d+ images", found)) == len(FORMATS)
    _, images, _ = validation_images(tmp_path / LAST)
    network, _, _ = load_network(tmp_path / LAST)
    with torch.no_grad():
        expected = network.float()(images)
    bound = 1e-4 * max(1.0, expected.abs().max().item())
    for form in FORMATS:
        torch.testing.assert_close(outputs_of(Path("plain"), form, images), expected, atol=bound, rtol=0)


@pytest.mark.slow
def test_the_example_counts_right_test_images(pruned: Path, everything: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "run_onnx.py"
    preprocessed = Path("preprocessed")
    export("--ckpt_path", pruned / LAST, "--preprocess", *FAST, "--output", preprocessed)
    files = [str(folder / "model.onnx") for folder in (everything, preprocessed)]
    done = subprocess.run([sys.executable, str(script), *files], capture_output=True, text=True, check=True)
    data = ImageData(dataset="digits")
    data.setup("test")
    network = plain_network(pruned / LAST, lambda: CifarResNet(10, depth=8))
    right = count = 0
    for batch in data.test_dataloader():
        with torch.no_grad():
            right += int((network(data.pipeline.normalise(batch.images)).argmax(1) == batch.targets).sum())
        count += len(batch.targets)
    assert done.stdout.count(f": {right} of {count} test images are right ({100 * right / count:.2f} %)") == 2


def test_the_demo_of_the_makefile_is_this_example() -> None:
    """The options of `make demo-deploy` exist, and its files are those that the export writes."""
    lines = [line.strip() for line in (Path(__file__).parents[2] / "Makefile").read_text().splitlines()]
    (words,) = [line.split()[2:] for line in lines if line.startswith("$(BIN)/dasc export ")]
    given = make_parser().parse_all(words, "dasc export", "")
    (files,) = [line.split()[2:] for line in lines if line.startswith("$(BIN)/python examples/run_onnx.py ")]
    assert {Path(file).parent for file in files} == {Path(given.output)}
    assert {Path(file).name for file in files} == {"model.onnx", "model.int8.onnx"}
    assert given.int8
    assert "onnx" in given.format.split(",")


@pytest.mark.parametrize(
    ("form", "missing"),
    [("onnx", ("onnx", "onnxruntime")), ("safetensors", ("safetensors",)), ("sparse", ("zstandard",))],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    form: str, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name in missing else find(name))
    verb = "is" if len(missing) == 1 else "are"
    assert exit_message(["export", "--ckpt_path", "best", "--format", form], capsys) == (
        f"dasc export: --format {form} needs {', '.join(missing)}, which {verb} not installed: run "
        "`pip install 'dasc[export]'`"
    )
