"""`dasc export`: write the network of a checkpoint as files for deployment."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dasc.arguments import ArgumentParser, add_checkpoint_options, number_from_one
from dasc.cli.interrupts import exits_on_signals
from dasc.errors import UserError

if TYPE_CHECKING:
    from dasc.export.card import FileFacts
    from dasc.export.options import Options
    from dasc.export.subject import ScoredBatch

DESCRIPTION = """\
Write the network of a checkpoint as files for deployment. Zeros are in the weights;
auxiliary blocks and teachers are left out. Each file is run on the validation images,
and kept only if its outputs agree with those of the network. A model card is beside
the files. The class names and the normalisation are in the files; no config is used.

  dasc export --ckpt_path best --format onnx,sparse
  dasc export --ckpt_path best --format onnx --preprocess --int8

formats:
  onnx          model.onnx: a graph for ONNX Runtime and other runtimes
  torch_export  model.pt2: a graph for torch.export.load, AOTInductor, ExecuTorch
  safetensors   model.safetensors: the weights
  sparse        model.sparse.safetensors: the weights without their zeros
  state_dict    model.pt: the weights, for torch.load"""

STATUSES = """\
exit status:
  0   all files were written
  1   some files do not agree with the network, or lose too much accuracy; they are not kept
  2   an option is wrong: nothing was written"""


def make_parser() -> ArgumentParser:
    """Return the parser of the options."""
    parser = ArgumentParser(
        prog="dasc export",
        usage="dasc export --ckpt_path CHECKPOINT [--format FORMAT[,FORMAT ...]] [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=STATUSES,
    )
    add = parser.add_argument
    add_checkpoint_options(parser, "a checkpoint, a run folder (its best, else its last), or best or last")
    add("--format", default="onnx", metavar="FORMATS", help="formats, with commas between them (onnx)")
    add("--output", metavar="DIR", help="folder of the files (export/ in the run folder, or beside the checkpoint)")
    add("--overwrite", action="store_true", help="replace the files of an earlier export")
    add(
        "--preprocess",
        action="store_true",
        help="put normalisation and softmax into graphs: uint8 images in, probabilities out",
    )
    add("--int8", action="store_true", help="also quantise model.onnx: model.int8.onnx, calibrated on training images")
    drop = "accuracy that the int8 file may lose, in percentage points (1)"
    add("--max_drop", type=float, default=1.0, metavar="POINTS", help=drop)
    add("--float16", action="store_true", help="round the weights in the sparse file to float16")
    add("--zstd", action="store_true", help="compress the sparse file: model.sparse.safetensors.zst")
    add("--threads", type=number_from_one, default=1, metavar="N", help="threads of measured forward passes (1)")
    seconds = "time for the measurement of latencies; 0 leaves them out (10)"
    add("--latency_seconds", type=float, default=10.0, metavar="SECONDS", help=seconds)
    add("--data.root", dest="data_root", metavar="DIR", help="folder of the data set (the one of the run)")
    add(
        "--allow_training_images",
        action="store_true",
        help="allow validation images that may have been training images of the run",
    )
    add("--config", "-c", help=argparse.SUPPRESS)
    return parser


def run(words: Sequence[str]) -> None:
    """Run `dasc export WORDS`; exits with status 1 if a file was not kept.

    Args:
        words: The words after `dasc export`.

    Raises:
        UserError: An option is wrong, and why.
    """
    given = _parse(words)
    with exits_on_signals("dasc export: interrupted, no files are written"):
        problems = _export(given)
    for problem in problems:
        print(f"dasc export: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    given = make_parser().parse_all(words, "dasc export", "see dasc export --help")
    if given.config is not None:
        raise UserError(
            "--config cannot be given to dasc export, which uses the network and the data settings of the checkpoint: "
            "leave --config out"
        )
    if given.ckpt_path is None:
        raise UserError("--ckpt_path is missing: give a checkpoint, a run folder, or best or last for the newest run's")
    return given


def _export(given: argparse.Namespace) -> list[str]:
    """Export, and return sentences about files that were not kept."""
    from dasc.export.export import export
    from dasc.export.identify import identify
    from dasc.export.options import FILE_NAMES
    from dasc.export.staging import check_new
    from dasc.export.subject import load_subject
    from dasc.prediction import find_checkpoint
    from dasc.scores import results_file

    options = _options(given)
    root = Path(os.path.expandvars(given.root)).expanduser()
    path, remark = find_checkpoint(given.ckpt_path, root)
    if (format_name := identify(path)) is not None:
        raise UserError(f"--ckpt_path must be a checkpoint, got {path}, a file of the format {format_name}")
    folder = _folder(given.output, path)
    check_new(folder, FILE_NAMES, given.overwrite)
    subject = load_subject(path, given.data_root, given.trust, given.allow_training_images)
    print(*([remark] if remark else []), f"{path}: {subject.title}", sep="\n")
    outcome = export(subject, options, folder, results_file(path, root), given.trust, watch=_with_bar)
    if outcome.files:
        print(f"written to {folder}: {', '.join(map(_size, outcome.files))}, and the model card")
    return outcome.problems


def _options(given: argparse.Namespace) -> "Options":
    from dasc.export.options import Options

    names = dict.fromkeys(name.strip() for name in given.format.split(",") if name.strip())
    return Options(
        tuple(names),
        preprocess=given.preprocess,
        int8=given.int8,
        max_drop=given.max_drop,
        float16=given.float16,
        zstd=given.zstd,
        threads=given.threads,
        latency_seconds=given.latency_seconds,
    )


def _folder(given: str | None, checkpoint: Path) -> Path:
    """Return the folder of the files: `export/` in the run folder, or beside a checkpoint that is in none."""
    if given is not None:
        return Path(os.path.expandvars(given)).expanduser()
    from dasc.runs import folder_of

    return (folder_of(checkpoint) or checkpoint.parent) / "export"


def _size(file: "FileFacts") -> str:
    return f"{file.name} ({file.bytes:,} bytes)"


def _with_bar(batches: Iterable["ScoredBatch"], title: str) -> Iterable["ScoredBatch"]:
    from tqdm import tqdm

    bar: Iterable[ScoredBatch] = tqdm(batches, desc=title, unit=" batches", disable=None, leave=False)
    return bar
