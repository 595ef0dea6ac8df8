"""`dasc predict --images`: predict image files without labels, from a checkpoint or an exported file alone."""

import argparse
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasc.arguments import ArgumentParser, add_checkpoint_options, number_from_one
from dasc.cli.interrupts import exits_on_signals
from dasc.cli.registry import COMMANDS
from dasc.errors import UserError
from dasc.machine import cores

if TYPE_CHECKING:
    import torch

    from dasc.prediction import FoundImages, Prediction, Unreadable

NAME = "predict"

_OF_CONFIG_FORM = ("--config", "-c", "--print_config", "--model", "--data", "--stages", "--help", "-h")
"""Options of `dasc predict --config`, which predicts the test images of a config."""

NAMED = 3
"""Paths at most that a message about several files names."""

DESCRIPTION = """\
Predict images without labels. The network, its classes, the image size and the
normalisation are those of the checkpoint, or of a file that dasc export wrote; no
config and no training data are used.

  dasc predict --ckpt_path best --images photos/ --output predictions.csv
  dasc predict --ckpt_path export/model.onnx --images photos/

The CSV file has a row for each image, in the order of --images (folders sorted):
  path                       the file
  class, probability         the most probable class
  class2, probability2, ...  the next ones, up to the fifth
Images that cannot be read are named, and the others are predicted."""

CKPT_PATH = """a checkpoint, a run folder (its best, else its last), or best or last; or an exported file: .onnx,
.safetensors, .sparse.safetensors[.zst], .pt2, .pt (with its model_card.json)"""

STATUSES = """\
exit status:
  0   all images were predicted
  1   some images cannot be read; the others were predicted
  2   an option is wrong: nothing was predicted"""


def is_on_files(words: Sequence[str]) -> bool:
    """Return whether the words after `dasc predict` are about image files, not about a config; no words are."""
    options = [word.partition("=")[0] for word in words]
    return "--images" in options or not any(
        option == name or option.startswith(f"{name}.") for option in options for name in _OF_CONFIG_FORM
    )


def make_parser() -> ArgumentParser:
    """Return the parser of the options."""
    parser = ArgumentParser(
        prog="dasc predict --images",
        usage="dasc predict --ckpt_path CHECKPOINT --images FILE_OR_FOLDER [FILE_OR_FOLDER ...] [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=STATUSES,
    )
    add = parser.add_argument
    add("--images", nargs="*", default=[], metavar="PATH", help="image files, and folders with their subfolders")
    add_checkpoint_options(parser, CKPT_PATH)
    add("--output", metavar="FILE", default="predictions.csv", help="the new CSV file (predictions.csv)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto: cuda if it can be used, else cpu)")
    add("--batch_size", type=number_from_one, default=64, metavar="N", help="images of one forward pass (64)")
    threads = min(16, cores())
    add(
        "--num_workers",
        type=number_from_one,
        default=threads,
        metavar="N",
        help=f"threads that decode images ({threads})",
    )
    add("--config", "-c", help=argparse.SUPPRESS)
    return parser


def run(words: Sequence[str]) -> Any:
    """Run `dasc predict WORDS`, on image files or on the test images of a config.

    Args:
        words: The words after `dasc predict`.

    Raises:
        UserError: An option is wrong, and why.
    """
    if is_on_files(words):
        return run_on_files(words)
    return COMMANDS[NAME].load_on_config()(words)


def run_on_files(words: Sequence[str]) -> None:
    """Predict image files; exits with status 1 if some images cannot be read.

    Args:
        words: The words after `dasc predict`.

    Raises:
        UserError: An option is wrong, and why.
    """
    given = _parse(words)
    with exits_on_signals("dasc predict: interrupted, no predictions are written"):
        unreadable = _predict(given)
    if unreadable:
        print(f"dasc predict: {unreadable}", file=sys.stderr)
        sys.exit(1)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    given = make_parser().parse_all(words, "dasc predict --images", "write --images {word}")
    if given.config is not None:
        raise UserError(
            "--config cannot be given with --images, which uses the network and the data settings of the checkpoint: "
            "leave --config out"
        )
    if not given.images:
        raise UserError("--images is missing: give files or folders, or --config FILE for the test images of a config")
    if given.ckpt_path is None:
        raise UserError(
            "--ckpt_path is missing: give a checkpoint, a run folder, an exported file, or best or last for the newest "
            "run's"
        )
    return given


def _predict(given: argparse.Namespace) -> str:
    """Predict, and return a sentence about images that cannot be read, or ''."""
    from dasc.export.predictor import find_model, open_predictor
    from dasc.prediction import check_new, find_images, predict_files

    output = Path(given.output).expanduser()
    check_new(output)
    found = find_images(given.images)
    if not found.paths:
        raise UserError(f"--images must name at least one image: {_nothing(found, given.images)}")
    root = Path(os.path.expandvars(given.root)).expanduser()
    path, remark = find_model(given.ckpt_path, root)
    predictor = open_predictor(path, _device(given.device), given.trust, or_cpu=given.device == "auto")
    print(*([remark] if remark else []), f"{path}: {predictor.title}, {len(predictor.classes)} classes", sep="\n")
    if found.unsupported:
        print(f"dasc predict: {_unsupported(found)}", file=sys.stderr)
    results = predict_files(predictor, found.paths, given.batch_size, given.num_workers)
    broken = _write(output, results, len(predictor.classes), len(found.paths))
    total = len(found.paths) + len(found.unsupported)
    count = len(found.paths) - len(broken)
    print(f"{count} prediction{'' if count == 1 else 's'}: {output}")
    unreadable = [*found.unsupported, *broken]
    return f"{len(unreadable)} of {total} images cannot be read: {_named(unreadable)}" if unreadable else ""


def _device(name: str) -> "torch.device":
    """Return the device of `--device`.

    Raises:
        UserError: There is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"--device must be auto or a device of this machine, such as cpu, got {name}: {reason}"
        ) from None
    return device


def _write(
    output: Path, results: "Generator[Prediction | Unreadable, None, None]", num_classes: int, total: int
) -> list[str]:
    """Write the predictions, and return the files that cannot be read, which are named on stderr as they are met.

    Raises:
        UserError: None of the files can be read, or the output cannot be written.
    """
    from tqdm import tqdm

    from dasc.prediction import Prediction, cells, columns, new_csv

    broken = []
    with (
        new_csv(output, columns(num_classes)) as write_row,
        tqdm(total=total, unit=" images", disable=None, leave=False) as bar,
        closing(results),
    ):
        for result in results:
            if isinstance(result, Prediction):
                write_row(cells(result))
            else:
                broken.append(result.path)
                tqdm.write(f"dasc predict: {result.reason}", file=sys.stderr)
            bar.update()
        if len(broken) == total:
            raise UserError(f"none of the images can be read, nothing is written to {output}: {_named(broken)}")
    return broken


def _nothing(found: "FoundImages", given: Sequence[str]) -> str:
    if found.unsupported:
        return _unsupported(found)
    from dasc.prediction import IMG_EXTENSIONS

    return f"there are none in {_named(given)}; known are {', '.join(IMG_EXTENSIONS)}"


def _unsupported(found: "FoundImages") -> str:
    count, first = len(found.unsupported), found.unsupported[0]
    if count == 1:
        return f"{first} has an unsupported type: convert it to JPEG or PNG"
    return f"{count} image files have an unsupported type ({_named(found.unsupported)}): convert them to JPEG or PNG"


def _named(paths: Sequence[str]) -> str:
    return ", ".join([*paths[:NAMED], *["..."] * (len(paths) > NAMED)])
