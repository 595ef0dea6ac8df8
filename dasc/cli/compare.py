"""`dasc compare`: compare checkpoints and exported files on the same images."""

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dasc.arguments import ArgumentParser, add_root_options, number_from_one
from dasc.cli.interrupts import exits_on_signals
from dasc.errors import UserError

if TYPE_CHECKING:
    from dasc.data.batch import Batch

DESCRIPTION = """\
Compare checkpoints and exported files on the same images: accuracy with its
interval, calibration error, parameters, non-zero parameters, MACs, bytes and
latencies, and a test whether the accuracies differ. The images are those of the
run of the first checkpoint or, without one, of the run folder of an exported file.

  dasc compare lightning_logs/version_0 lightning_logs/version_1
  dasc compare best export/model.onnx export/model.int8.onnx --split test

A candidate is a checkpoint, a run folder (its best, else its last), best or last of
the newest run, or an exported file: .onnx, .safetensors, .sparse.safetensors[.zst],
.pt2, .pt (with its model_card.json).

Written into --output:
  compare.csv  a row for each candidate
  compare.svg  accuracy over latency at batch 1 and over bytes"""


def make_parser() -> ArgumentParser:
    """Return the parser of the options."""
    parser = ArgumentParser(
        prog="dasc compare",
        usage="dasc compare CANDIDATE [CANDIDATE ...] [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("candidates", nargs="*", metavar="CANDIDATE", help="what is compared")
    add("--split", choices=("val", "test"), default="val", help="the images: val or test (val)")
    add("--output", metavar="DIR", default="comparison", help="folder of the files (comparison)")
    add("--overwrite", action="store_true", help="replace the files of an earlier comparison")
    add("--threads", type=number_from_one, default=1, metavar="N", help="threads of measured forward passes (1)")
    seconds = "time for the measurement of latencies; 0 leaves them out (10)"
    add("--latency_seconds", type=float, default=10.0, metavar="SECONDS", help=seconds)
    add("--data.root", dest="data_root", metavar="DIR", help="folder of the data set (the one of the run)")
    add(
        "--allow_training_images",
        action="store_true",
        help="allow images that may have been training images of a candidate",
    )
    add_root_options(parser)
    add("--config", "-c", help=argparse.SUPPRESS)
    return parser


def run(words: Sequence[str]) -> None:
    """Run `dasc compare WORDS`.

    Args:
        words: The words after `dasc compare`.

    Raises:
        UserError: An option or a candidate is wrong, and why.
    """
    given = make_parser().parse_all(words, "dasc compare", "write dasc compare {word}")
    if given.config is not None:
        raise UserError(
            "--config cannot be given to dasc compare, which uses the networks and the data settings of the "
            "candidates: leave --config out"
        )
    with exits_on_signals("dasc compare: interrupted, no files are written"):
        _compare(given)


def _compare(given: argparse.Namespace) -> None:
    from dasc.compare.compare import CSV_FILE, FIGURE_FILE, FILE_NAMES, Options, compare, find_candidates, write
    from dasc.compare.text import printed
    from dasc.export.staging import check_new

    options = Options(
        split=given.split,
        data_root=given.data_root,
        allow_training=given.allow_training_images,
        threads=given.threads,
        latency_seconds=given.latency_seconds,
        trust=tuple(given.trust),
    )
    paths, remarks = find_candidates(given.candidates, _path(given.root))
    output = _path(given.output)
    check_new(output, FILE_NAMES, given.overwrite, "comparison")
    for remark in remarks:
        print(remark)
    comparison = compare(paths, options, _with_bar)
    print(*printed(comparison), sep="\n")
    if write(comparison, output):
        print(f"written to {output}: {CSV_FILE}, {FIGURE_FILE}")
    else:
        print(f"written to {output}: {CSV_FILE} (for the picture: pip install 'dasc[study]')")


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()


def _with_bar(batches: "Iterable[Batch]") -> "Iterable[Batch]":
    from tqdm import tqdm

    bar: Iterable[Batch] = tqdm(batches, desc="scoring", unit=" batches", disable=None, leave=False)
    return bar
