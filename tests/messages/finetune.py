"""Mistakes in pretrained weights, and in a teacher that is a stage of the run."""

from pathlib import Path

import torch
from torchvision import models

from tests.messages.case import Case

NETWORK = "--model.network TorchvisionNetwork --model.network.name squeezenet1_1 --data.image_size 32"
OWN = "fit --config {config} --seed_everything false --model DistilledClassifier"


def write_files(folder: Path) -> None:
    torch.save(models.shufflenet_v2_x0_5().state_dict(), folder / "other.pth")
    (folder / "half.pth").write_bytes((folder / "other.pth").read_bytes()[:50_000])
    torch.save(torch.zeros(3), folder / "tensor.pth")
    (folder / "cache" / "hub" / "checkpoints").mkdir(parents=True)
    (folder / "cache" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"a part of the file")


CASES = {
    "no connection": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights DEFAULT",
        (
            "dasc fit: model.network.weights must be downloaded from https://download.pytorch.org/models/squeezenet1_1",
            "download it elsewhere and set model.network.weights to its path",
        ),
        environment={"https_proxy": "http://127.0.0.1:9", "no_proxy": ""},
    ),
    "a damaged file in the cache": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights DEFAULT",
        ("cache/hub/checkpoints/squeezenet1_1-b8a52dc0.pth is damaged: its SHA-256", "remove it to download it again"),
        prepare=write_files,
        environment={"TORCH_HOME": "cache"},
    ),
    "unknown pretrained weights": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights IMAGENET1K_V2",
        ("model.network.weights must be one of DEFAULT, IMAGENET1K_V1 for squeezenet1_1, or the path of a file with",),
    ),
    "a missing weights file": Case(
        f"plan --config {{config}} --seed_everything false {NETWORK} --model.network.weights nowhere.pth",
        ("dasc plan: there is no file nowhere.pth: check model.network.weights",),
    ),
    "a truncated weights file": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights half.pth",
        ("half.pth cannot be read as a state_dict, it may be truncated",),
        prepare=write_files,
    ),
    "weights of another network": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights other.pth",
        ("model.network.weights must be weights of squeezenet1_1, got other.pth of another network",),
        prepare=write_files,
    ),
    "a weights file that is a tensor": Case(
        f"fit --config {{config}} --seed_everything false {NETWORK} --model.network.weights tensor.pth",
        ("tensor.pth is no state_dict",),
        prepare=write_files,
    ),
    "teacher.stage 0": Case(f"{OWN} --model.teacher.stage 0", ("teacher.stage must be an integer >= 1, got 0",)),
    "teacher.stage of the last stage": Case(
        f"{OWN} --model.teacher.stage 3",
        ("teacher.stage must be lower than the number of stages, 3, got 3: no stage would learn from the teacher",),
    ),
    "teacher.stage with a path": Case(
        f"{OWN} --model.teacher.stage 1 --model.teacher.path teacher.ckpt",
        ("teacher.stage must not be set together with teacher.path, got 1 and teacher.ckpt: leave one of them out",),
    ),
    "teacher.stage with views": Case(
        f"{OWN} --model.teacher.stage 1 --model.selection '{{views: 2}}'",
        ("selection must be none with teacher.stage, got views 2:", "to select views, give teacher.path"),
    ),
}
