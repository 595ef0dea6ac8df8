"""Mistakes in `dasc export`."""

from pathlib import Path

import torch

from dasc.checkpoint import FORMAT
from dasc.networks import CifarResNet
from tests.messages.case import Case
from tests.support.files import truncate


def checkpoint(folder: Path) -> None:
    """Write own.ckpt, a checkpoint of a run without ImageData."""
    state = {f"network.{key}": value for key, value in CifarResNet(10, depth=8).state_dict().items()}
    network = {"class_path": "dasc.networks.CifarResNet", "init_args": {"num_classes": 10, "depth": 8}}
    torch.save({"state_dict": state, "dasc": {"format": FORMAT, "network": network}}, folder / "own.ckpt")


def truncated(folder: Path) -> None:
    checkpoint(folder)
    truncate(folder / "own.ckpt")


def foreign(folder: Path) -> None:
    torch.save({"state_dict": {}}, folder / "own.ckpt")


def exported(folder: Path) -> None:
    (folder / "model.pt2").write_text("program")
    (folder / "model.onnx").write_text("graph")


def earlier(folder: Path) -> None:
    checkpoint(folder)
    (folder / "export").mkdir()
    exported(folder / "export")


def file(folder: Path) -> None:
    checkpoint(folder)
    (folder / "export").touch()


START = "dasc export: "
EXPORT = "export --ckpt_path own.ckpt"

CASES = {
    "no checkpoint": Case("export --format onnx", (START, "--ckpt_path is missing: give a checkpoint, a run folder")),
    "a checkpoint that does not exist": Case(EXPORT, (START, "there is no checkpoint own.ckpt: check the path")),
    "a truncated checkpoint": Case(EXPORT, (START, "own.ckpt", "may be truncated"), truncated),
    "a checkpoint of another program": Case(EXPORT, (START, "own.ckpt", "dasc"), foreign),
    "a checkpoint without its data": Case(
        EXPORT, (START, "own.ckpt cannot be exported: the checkpoint must record its data"), checkpoint
    ),
    "an exported file in place of a checkpoint": Case(
        "export --ckpt_path model.pt2",
        (START, "--ckpt_path must be a checkpoint, got model.pt2, a file of the format torch_export"),
        exported,
    ),
    "an unknown format": Case(
        f"{EXPORT} --format onnx,tflite",
        (START, "unknown format 'tflite': known are onnx, safetensors, sparse, torch_export, state_dict"),
    ),
    "no format": Case(f"{EXPORT} --format ,", (START, "--format must name at least one format, got none")),
    "preprocessing without a graph": Case(
        f"{EXPORT} --format sparse --preprocess",
        (START, "--preprocess must go with a format that has a graph, got --format sparse: add onnx or torch_export"),
    ),
    "int8 without ONNX": Case(f"{EXPORT} --format sparse --int8", (START, "--int8 must go with", "add onnx")),
    "zstd without sparse": Case(f"{EXPORT} --zstd", (START, "--zstd must go with the format sparse", "add sparse")),
    "float16 without sparse": Case(f"{EXPORT} --float16", (START, "--float16 must go with the format sparse")),
    "a drop over 100 points": Case(
        f"{EXPORT} --int8 --max_drop 101", (START, "--max_drop must be from 0 to 100 percentage points, got 101")
    ),
    "a negative time": Case(
        f"{EXPORT} --latency_seconds=-1", (START, "--latency_seconds must be 0 or a number of seconds, got -1")
    ),
    "too many threads": Case(
        f"{EXPORT} --threads 2147483648", (START, "--threads must be an integer below 2147483648")
    ),
    "no threads": Case(f"{EXPORT} --threads 0", (START, "--threads must be an integer >= 1, got 0")),
    "an unknown option of export": Case(
        f"{EXPORT} --outptu x", (START, "unknown option of dasc export '--outptu': did you mean --output")
    ),
    "a word without an option of export": Case("export own.ckpt", (START, "'own.ckpt' must follow an option")),
    "a config for export": Case(
        f"{EXPORT} --config {{config}}", (START, "--config cannot be given to dasc export", "leave --config out")
    ),
    "an earlier export": Case(
        EXPORT, (START, "--output must be a folder without model.onnx, got export", "--overwrite"), earlier
    ),
    "a file as folder of the export": Case(EXPORT, (START, "--output must be a folder, got export"), file),
    "a folder that cannot be written to": Case(
        f"{EXPORT} --output /proc/export", (START, "--output must be a folder", "got /proc/export"), checkpoint
    ),
}
