"""Mistakes in a folder of images."""

from pathlib import Path

from tests.messages.case import Case
from tests.support.files import make_folder


def no_images_inside(folder: Path) -> None:
    for path, _ in make_folder(folder / "photos", {"train": {"cat": 2, "dog": 2}})["train"]:
        path.write_text("no image")


_FOLDER = "--config {config} --data.dataset folder --data.root photos --seed_everything=false"
_READS = ("photos/train/cat/000.png cannot be read as an image (", "and 3 other sampled files")

CASES = {
    "a folder whose files are no images": Case(f"fit {_FOLDER}", ("dasc fit: ", *_READS), no_images_inside),
    "the plan of such a folder": Case(f"plan {_FOLDER}", ("dasc plan: ", *_READS), no_images_inside),
}
