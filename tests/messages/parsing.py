"""Mistakes in options and config files."""

from collections.abc import Callable
from pathlib import Path

from tests.messages.case import Case

FIT = "fit --config {config} "


def file(content: str | bytes, name: str = "given.yaml") -> Callable[[Path], None]:
    """Return a function that writes a file."""

    def write(parent: Path) -> None:
        (parent / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def folder(name: str) -> Callable[[Path], None]:
    return lambda parent: (parent / name).mkdir()


def given(content: str | bytes, *says: str) -> Case:
    """Return the case of a second config file."""
    return Case(FIT + "--config given.yaml", says, prepare=file(content))


CASES = {
    "a precision that does not exist": Case(
        FIT + "--trainer.precision fp8", ("dasc fit: trainer.precision must be one of 32-true, bf16-", "got 'fp8'")
    ),
    "text for a number of a class": Case(
        FIT + "--model.optimizer.weight_decay abc", ("model.optimizer.weight_decay must be a number, got 'abc'",)
    ),
    "text for a number of a callback": Case(
        FIT + "--trainer.callbacks+=EarlyStopping --trainer.callbacks.patience=abc",
        ("trainer.callbacks.patience (EarlyStopping) must be an integer, got 'abc'",),
    ),
    "a callback without a required option": Case(
        FIT + "--trainer.callbacks+=EarlyStopping", ("trainer.callbacks.monitor is missing: EarlyStopping needs it",)
    ),
    "an option of the trainer without a value": Case(
        FIT + "--trainer.precision", ("--trainer.precision has no value: write --trainer.precision VALUE",)
    ),
    "an option of the data without a value": Case(FIT + "--data.root", ("--data.root has no value",)),
    "an option of another module": Case(
        FIT + "--model.selection.views 3",
        ("--model.selection.views is an option of DistilledClassifier", "write --model DistilledClassifier"),
    ),
    "an option of a logger that is not named": Case(
        FIT + "--trainer.logger.save_dir x", ("trainer.logger names none: write --trainer.logger CLASS",)
    ),
    "a network of torchvision": Case(
        FIT + "--model.network resnet18",
        ("write --model.network TorchvisionNetwork --model.network.name resnet18",),
    ),
    "a network with two outputs": Case(
        FIT + "--model.network TorchvisionNetwork --model.network.name inception_v3",
        ("model.network.name must be a network with one output, got 'inception_v3'", "use resnet50"),
    ),
    "a folder as data set": Case(
        FIT + "--data.dataset my_images",
        ("got the folder my_images: write --data.dataset folder --data.root my_images",),
        folder("my_images"),
    ),
    "a checkpoint as init_from": Case(FIT + "--init_from x.ckpt", ("write --init_from.path x.ckpt",)),
    "a checkpoint as teacher": Case(
        FIT + "--model DistilledClassifier --model.teacher x.ckpt", ("write --model.teacher.path x.ckpt",)
    ),
    "an unknown optimizer": Case(
        FIT + "--model.optimizer Adm", ("unknown class 'Adm' for model.optimizer: did you mean Adam",)
    ),
    "an optimizer that is none": Case(
        FIT + "--model.optimizer CifarResNet", ("unknown class 'CifarResNet' for model.optimizer: known are ASGD, ",)
    ),
    "an unknown logger": Case(
        FIT + "--trainer.logger TensorBoardLoger", ("for trainer.logger: did you mean TensorBoardLogger",)
    ),
    "an unknown callback": Case(
        FIT + "--trainer.callbacks EarlyStoping", ("for trainer.callbacks: did you mean EarlyStopping",)
    ),
    "a module that does not exist": Case(
        FIT + "--model.network nowhere.Net",
        ("model.network must be the class of a network", "no module named 'nowhere'"),
    ),
    "an unknown option of the data": Case(
        FIT + "--data.batchsize 3", ("unknown option '--data.batchsize' of ImageData: did you mean --data.batch_size",)
    ),
    "an unknown option of the trainer": Case(
        FIT + "--trainer.max_epocs 3", ("unknown option '--trainer.max_epocs': did you mean --trainer.max_epochs",)
    ),
    "an option without its group": Case(
        FIT + "--lr 0.1", ("unknown option '--lr': did you mean --model.optimizer.lr",)
    ),
    "a config without its option": Case(
        "fit given.yaml", ("'given.yaml' belongs to no option: write --config given.y",)
    ),
    "an unknown command": Case("studdy run x.yaml", ("dasc: unknown command 'studdy': did you mean study?",)),
    "no command": Case("--config {config}", ("dasc: the command is missing: write dasc fit",)),
    "an empty config": given("", "given.yaml is empty: it must be a mapping"),
    "a config with a tab": given("trainer:\n\tdevices: 1\n", "given.yaml, line 2: ", "got a tab"),
    "a config that is not YAML": given("trainer: {\n", "given.yaml, line 2: this is not YAML: "),
    "a config that is a list": given("- 1\n", "given.yaml must be a mapping of options", "got a list"),
    "a config that is text": given("abc\n", "given.yaml must be a mapping of options", "got the text 'abc'"),
    "a config in another encoding": given(b"\xff\xfe", "given.yaml must be a text file in UTF-8"),
    "a config that is a folder": Case(
        "fit --config given", ("--config must be a file, got the folder given",), prepare=folder("given")
    ),
    "a trainer that is no mapping": given("trainer: 3\n", "given.yaml: trainer must be a mapping", "got 3"),
    "a study file as config": given(
        "name: x\nconfigs: [a.yaml]\naxes: {}\n", "given.yaml is a study file", "dasc study run given.yaml"
    ),
    "a wrong value in a config": given(
        "seed_everything: 1\ndata:\n  class_path: ImageData\n  init_args:\n    batch_size: abc\n",
        "given.yaml, line 5: data.batch_size must be an integer, got 'abc'",
    ),
    "an unknown key in a config": given(
        "trainer:\n  precison: 32-true\n",
        "given.yaml, line 2: unknown option 'trainer.precison': did you mean trainer.p",
    ),
    "an unknown key of a class in a config": given(
        "model:\n  init_args:\n    optimizer: {class_path: AdamW, init_args: {lrr: 1}}\n",
        "given.yaml, line 3: unknown option 'model.optimizer.lrr' of AdamW: did you mean model.optimizer.lr",
    ),
    "an unknown column in a config": given(
        "stages: [{epochs: 1, sparsty: 0.2}]\n", "given.yaml: stage 1: unknown column 'sparsty'"
    ),
}
