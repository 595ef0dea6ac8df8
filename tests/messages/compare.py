"""Mistakes in `dasc compare`."""

from dataclasses import replace
from pathlib import Path

from dasc.export.safetensors_file import SafetensorsFormat
from dasc.networks import CifarResNet
from tests.messages.case import Case
from tests.messages.export import checkpoint, exported, foreign, truncated
from tests.support.exported import model_of


def weights(folder: Path) -> None:
    """Write ten.safetensors and two.safetensors, networks with 10 and with 2 classes."""
    for name, classes in (("ten", 10), ("two", 2)):
        model = model_of(CifarResNet(classes, depth=8), 8)
        metadata = replace(model.metadata, classes=model.metadata.classes[:classes])
        SafetensorsFormat().write(replace(model, metadata=metadata), folder / f"{name}.safetensors")


def earlier(folder: Path) -> None:
    checkpoint(folder)
    (folder / "comparison").mkdir()
    (folder / "comparison" / "compare.csv").touch()


def exported_folder(folder: Path) -> None:
    exported(folder)
    (folder / "model_card.json").touch()


START = "dasc compare: "

CASES = {
    "no candidates": Case("compare", (START, "candidates are missing: give checkpoints, run folders or exported")),
    "a candidate that does not exist": Case("compare no.ckpt", (START, "there is no checkpoint no.ckpt: check the")),
    "an exported candidate that does not exist": Case("compare no.onnx", (START, "there is no file no.onnx: check")),
    "a run that does not exist": Case("compare best", (START, "no run under lightning_logs has a checkpoint 'best'")),
    "a truncated candidate": Case("compare own.ckpt", (START, "own.ckpt", "may be truncated"), truncated),
    "a candidate of another program": Case("compare own.ckpt", (START, "own.ckpt is not a checkpoint of"), foreign),
    "a candidate without its data": Case(
        "compare own.ckpt", (START, "own.ckpt cannot be compared: the checkpoint does not record"), checkpoint
    ),
    "a folder of exported candidates": Case(
        "compare .",
        (START, "a candidate must be a file, got ., a folder of exported files: give some of"),
        exported_folder,
    ),
    "a candidate given twice": Case(
        "compare own.ckpt --split test ./own.ckpt",
        (START, "candidates must be different files, got own.ckpt twice: leave one out"),
        checkpoint,
    ),
    "candidates with other classes": Case(
        "compare ten.safetensors two.safetensors",
        (START, "the same classes, got 10 in ten.safetensors and 2 in two.safetensors: leave one out"),
        weights,
    ),
    "an exported candidate without a run": Case(
        "compare ten.safetensors",
        (START, "the images must be those of a run, got ten.safetensors", "give a checkpoint of the run, too"),
        weights,
    ),
    "an unknown split": Case(
        "compare own.ckpt --split train", (START, "--split must be one of val, test, got 'train'")
    ),
    "no time for latencies": Case(
        "compare own.ckpt --latency_seconds nan", (START, "--latency_seconds must be 0 or a number of seconds, got nan")
    ),
    "an unknown option of compare": Case(
        "compare own.ckpt --outptu x", (START, "unknown option of dasc compare '--outptu': did you mean --output")
    ),
    "a config for compare": Case(
        "compare own.ckpt --config {config}", (START, "--config cannot be given to dasc compare", "leave --config out")
    ),
    "an earlier comparison": Case(
        "compare own.ckpt",
        (START, "--output must be a folder without compare.csv, got comparison", "of an earlier comparison"),
        earlier,
    ),
}
