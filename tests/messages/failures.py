"""Errors of optimizers, networks, devices, packages and the system, found before a training starts."""

from pathlib import Path

from tests.messages.case import Case
from tests.support.files import make_folder

FIT = "fit --config {config} "
TORCHVISION = FIT + "--model.network TorchvisionNetwork --model.network.name "
CALLBACK = FIT + "--trainer.callbacks+=lightning.pytorch.callbacks."
NETWORKS = """\
from torch import nn


class Raises(nn.Module):
    def __init__(self, num_classes: int) -> None:
        raise ValueError("no weights for these classes. Train some")


class Misfits(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(5, num_classes)

    def forward(self, images):
        return self.layer(images)
"""


def _networks(folder: Path) -> None:
    (folder / "networks.py").write_text(NETWORKS)


def _one_class(folder: Path) -> None:
    make_folder(folder / "photos", {"train": {"cat": 4}})


def _two_classes(folder: Path) -> None:
    make_folder(folder / "photos", {"train": {"cat": 40, "dog": 40}})


def _file(folder: Path) -> None:
    (folder / "taken").write_text("a file")


CASES = {
    "a negative learning rate": Case(
        FIT + "--model.optimizer.lr -1",
        ("dasc fit: model.optimizer.lr must be >= 0, got -1.0: give SGD another value",),
    ),
    "a beta over 1": Case(
        "plan --config {config} --model.optimizer AdamW --model.optimizer.lr 0.1 --model.optimizer.betas [0.9,1.5]",
        ("dasc plan: model.optimizer.betas must be two numbers >= 0 and < 1, got (0.9, 1.5): ",),
    ),
    "Nesterov without momentum": Case(
        FIT + "--model.optimizer.momentum 0", ("model.optimizer.nesterov must be false", "optimizer.nesterov false")
    ),
    "an optimizer of sparse gradients": Case(
        FIT + "--model.optimizer SparseAdam --model.optimizer.lr 0.1",
        ("model.optimizer must be for dense gradients, got SparseAdam: take SGD, Adam or AdamW",),
    ),
    "an optimizer of matrices": Case(
        FIT + "--model.optimizer Muon --model.optimizer.lr 0.1",
        ("model.optimizer must be for weights of all shapes, got Muon, which is for matrices only: take SGD",),
    ),
    "a negative seed": Case(
        FIT + "--seed_everything=-5", ("seed_everything must be >= 0 and < 2^32, got -5: take another seed",)
    ),
    "a seed over 32 bits": Case(
        "plan --config {config} --seed_everything=4294967296", ("seed_everything must be", "got 4294967296")
    ),
    "one class folder": Case(
        FIT + "--data.dataset folder --data.root photos --data.batch_size 2",
        ("photos/train must have at least 2 classes, got 1 (cat): put the images of each class into",),
        _one_class,
    ),
    "images too small for a network": Case(
        TORCHVISION + "alexnet",
        ("data.image_size must be larger for network alexnet, got 8: ", "Output size is too small", "image_size 64"),
    ),
    "a network for one image size": Case(
        TORCHVISION + "vit_b_16", ("data.image_size must be 224 for network vit_b_16, got 8: ", "--data.image_size 224")
    ),
    "a network whose constructor raises": Case(
        FIT + "--model.network networks.Raises",
        ("model.network must be made without an error, got one in Raises.__init__", "no weights for these classes"),
        _networks,
    ),
    "a network that does not fit any image": Case(
        FIT + "--model.network networks.Misfits",
        (
            "model.network must map images (B, 3, 8, 8) to logits (B, 10)",
            "networks.py, line 15",
            "cannot be multiplied",
        ),
        _networks,
    ),
    "a network of no module": Case(
        FIT + "--model.network nowhere.Network",
        ("got 'nowhere.Network', which cannot be imported: no module named 'nowhere'",),
    ),
    "a download without internet": Case(
        FIT + "--data.dataset cifar10 --data.root . --data.download true",
        ("data.download must be false without an internet connection", "copy the files of CIFAR10 to ."),
        environment={"https_proxy": "http://127.0.0.1:9"},
    ),
    "a root that is a file": Case(
        FIT + "--trainer.default_root_dir taken/runs",
        ("trainer.default_root_dir must be a folder that can be written to, got taken/runs", "give another one"),
        _file,
    ),
    "a root that cannot be made": Case(
        FIT + "--trainer.default_root_dir /proc/runs",
        ("trainer.default_root_dir must be a folder that can be written to, got /proc/runs", "/proc: "),
    ),
    "an unknown strategy": Case(FIT + "--trainer.strategy foo", ("trainer.strategy must be auto or ddp, got foo: ",)),
    "sharded weights on the CPU": Case(FIT + "--trainer.strategy fsdp", ("trainer.strategy must be auto or ddp",)),
    "a parallel model": Case(
        FIT + "--trainer.strategy lightning.pytorch.strategies.ModelParallelStrategy",
        ("trainer.strategy must be auto or ddp, got ", "ModelParallelStrategy: "),
    ),
    "barebones": Case(FIT + "--trainer.barebones true", ("trainer.barebones must be false, got True: ",)),
    "a search for the learning rate": Case(
        CALLBACK + "LearningRateFinder", ("must not contain LearningRateFinder: ", "set model.optimizer.lr")
    ),
    "a search for the batch size": Case(
        CALLBACK + "BatchSizeFinder", ("must not contain BatchSizeFinder: data.batch_size is part of the recipe",)
    ),
    "a monitor that is not logged": Case(
        CALLBACK + "EarlyStopping --trainer.callbacks.monitor=val_los",
        ("trainer.callbacks EarlyStopping: unknown monitor 'val_los': did you mean val/loss",),
    ),
    "a logger without its package": Case(
        FIT + "--trainer.logger WandbLogger",
        ("WandbLogger needs the package wandb", "pip install wandb"),
    ),
    "another logger without its package": Case(
        "plan --config {config} --trainer.logger MLFlowLogger", ("MLFlowLogger needs the package mlflow",)
    ),
    "no devices": Case(FIT + "--trainer.devices 0", ("trainer.devices must be a number >= 1, ", "got 0: ")),
    "a list of devices on the CPU": Case(
        FIT + "--trainer.devices -1", ("trainer.devices must suit this machine and Lightning, got -1: ",)
    ),
    "an unknown accelerator": Case(
        FIT + "--trainer.accelerator foo", ("trainer.accelerator must be one of auto, cpu, gpu", "got foo: ")
    ),
    "an accelerator that this machine lacks": Case(
        FIT + "--trainer.accelerator tpu", ("trainer.accelerator must suit this machine and Lightning, got tpu: ",)
    ),
}
