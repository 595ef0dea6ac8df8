"""Mistakes in `dasc predict --images` with an exported file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dasc.networks import CifarResNet
from tests.messages.case import Case
from tests.messages.predict import images
from tests.support.files import truncate
from tests.support.graphs import metadata, write_graph


def graph(described: bool = True, preprocess: bool = False, **settings: Any) -> Callable[[Path], None]:
    """Return what writes photos/ and model.onnx, which has metadata unless `described` is False."""

    def prepare(folder: Path) -> None:
        images(folder)
        write_graph(folder / "model.onnx", metadata(preprocess=preprocess) if described else None, **settings)

    return prepare


def truncated(folder: Path) -> None:
    graph()(folder)
    truncate(folder / "model.onnx")


def text(folder: Path) -> None:
    images(folder)
    (folder / "model.onnx").write_text("no ONNX file")


def two_images(folder: Path) -> None:
    graph(batch=1)(folder)
    (folder / "photos" / "two.png").write_bytes((folder / "photos" / "one.png").read_bytes())


def without_card(folder: Path) -> None:
    images(folder)
    torch.save(CifarResNet(10, depth=8).state_dict(), folder / "model.pt")


def without_metadata(folder: Path) -> None:
    images(folder)
    save_file(CifarResNet(10, depth=8).state_dict(), folder / "model.safetensors")


def exported_folder(folder: Path) -> None:
    images(folder)
    (folder / "export").mkdir()
    for name in ("model_card.json", "model.onnx", "model.safetensors", "notes.txt"):
        (folder / "export" / name).touch()


START = "dasc predict: "
PREDICT = "predict --images photos --ckpt_path"

CASES = {
    "an exported file that does not exist": Case(
        f"{PREDICT} no.onnx", (START, "there is no file no.onnx: check the path"), images
    ),
    "a folder of exported files": Case(
        f"{PREDICT} export",
        (START, "--ckpt_path must be one file, got export", "give one of model.onnx, model.safetensors"),
        exported_folder,
    ),
    "a truncated ONNX file": Case(f"{PREDICT} model.onnx", (START, "model.onnx", "truncated"), truncated),
    "a text file as ONNX file": Case(f"{PREDICT} model.onnx", (START, "model.onnx is no ONNX file"), text),
    "an ONNX file of another program": Case(
        f"{PREDICT} model.onnx",
        (START, "model.onnx must be a file of dasc export, but it has no metadata dasc, network"),
        graph(described=False),
    ),
    "an ONNX file with another number of classes": Case(
        f"{PREDICT} model.onnx",
        (START, "model.onnx must have 10 outputs, the number of classes in its metadata, got 7"),
        graph(outputs=7),
    ),
    "an ONNX file with normalisation for another image size": Case(
        f"{PREDICT} model.onnx",
        (START, "model.onnx cannot be run on one image of 8 x 8 pixels, the size in its metadata"),
        graph(preprocess=True, size=16),
    ),
    "an ONNX file with a batch of one": Case(
        f"{PREDICT} model.onnx",
        (START, "--batch_size must fit model.onnx and the memory of cpu, got 2", "give a smaller one, such as 1"),
        two_images,
    ),
    "a GPU without its version of ONNX Runtime": Case(
        f"{PREDICT} model.onnx --device mps", (START, "--device must be"), graph()
    ),
    "a state_dict without its model card": Case(
        f"{PREDICT} model.pt", (START, "model.pt", "model_card.json"), without_card
    ),
    "a safetensors file without metadata": Case(
        f"{PREDICT} model.safetensors",
        (START, "model.safetensors must be a file of dasc export, but it has no metadata"),
        without_metadata,
    ),
}
