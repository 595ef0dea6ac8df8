"""Mistakes in `dasc predict --images`."""

from pathlib import Path

import torch

from dasc.checkpoint import FORMAT
from dasc.networks import CifarResNet
from tests.messages.case import Case
from tests.support.files import noise, save


def images(folder: Path) -> None:
    save(noise(8, 8, 3), folder / "photos" / "one.png")


def own_network(folder: Path) -> None:
    """Write a checkpoint whose network class is in a module that is not trusted."""
    images(folder)
    state = {f"network.{key}": value for key, value in CifarResNet(10, depth=8).state_dict().items()}
    network = {"class_path": "my_package.MyNetwork", "init_args": {"num_classes": 10}}
    torch.save({"state_dict": state, "dasc": {"format": FORMAT, "network": network}}, folder / "own.ckpt")


def not_of_a_run(folder: Path) -> None:
    images(folder)
    torch.save({"state_dict": {}}, folder / "other.ckpt")


def unsupported(folder: Path) -> None:
    save(noise(8, 8, 3), folder / "photos" / "notes.png").rename(folder / "photos" / "one.heic")


def existing(folder: Path) -> None:
    images(folder)
    (folder / "predictions.csv").write_text("mine")


def empty(folder: Path) -> None:
    (folder / "photos").mkdir()


START = "dasc predict: "

CASES = {
    "an unknown option": Case(
        "predict --images photos --ckpt_pth best",
        (START, "unknown option", "'--ckpt_pth'", "did you mean --ckpt_path"),
        images,
    ),
    "an option of the other form": Case(
        "predict --images photos --ckpt_path best --data.root pets", (START, "'--data.root'"), images
    ),
    "a word without an option": Case(
        "predict photos --ckpt_path best", (START, "'photos' must follow an option: write --images photos"), images
    ),
    "images and a config": Case(
        "predict --images photos --config {config} --ckpt_path best",
        (START, "--config cannot be given with --images", "leave --config out"),
        images,
    ),
    "neither images nor a config": Case("predict --ckpt_path best", (START, "--images is missing", "--config FILE")),
    "no checkpoint named": Case("predict --images photos", (START, "--ckpt_path is missing", "best or last"), images),
    "images that do not exist": Case(
        "predict --images fotos --ckpt_path best", (START, "--images must be files or folders", "got fotos"), images
    ),
    "a folder without images": Case(
        "predict --images photos --ckpt_path best", (START, "there are none in photos", ".jpg"), empty
    ),
    "images of an unsupported type only": Case(
        "predict --images photos --ckpt_path best",
        (START, "photos/one.heic has an unsupported type: convert it to JPEG or PNG"),
        unsupported,
    ),
    "a checkpoint that does not exist": Case(
        "predict --images photos --ckpt_path no.ckpt", (START, "there is no checkpoint no.ckpt"), images
    ),
    "no run": Case(
        "predict --images photos --ckpt_path best",
        (START, "no run under lightning_logs has a checkpoint 'best'", "--root"),
        images,
    ),
    "a folder that is no run": Case(
        "predict --images photos --ckpt_path photos", (START, "photos has no checkpoint", "give a run folder"), images
    ),
    "a file of another program": Case(
        "predict --images photos --ckpt_path other.ckpt",
        (START, "other.ckpt is not a checkpoint of a dasc run"),
        not_of_a_run,
    ),
    "a network of one's own": Case(
        "predict --images photos --ckpt_path own.ckpt",
        (START, "my_package.MyNetwork", "add --trust my_package"),
        own_network,
    ),
    "an output that exists": Case(
        "predict --images photos --ckpt_path no.ckpt",
        (START, "--output must be a new file, got predictions.csv", "give another --output"),
        existing,
    ),
    "a batch size of zero": Case(
        "predict --images photos --ckpt_path no.ckpt --batch_size 0",
        (START, "--batch_size must be an integer >= 1, got 0"),
        images,
    ),
    "an unknown device": Case(
        "predict --images photos --ckpt_path no.ckpt --device gpu",
        (START, "--device must be auto or a device of this machine", "got gpu"),
        images,
    ),
}
