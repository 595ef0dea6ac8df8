"""Story of an engineer who fine-tunes, prunes and uses a classifier of photos, with an installed wheel.

`make story` runs it. It builds the wheel, installs it into an environment that has only what the wheel requires, and
runs commands in a folder outside of the repository. Each step checks what the user would look at. torchvision's
weights cannot be downloaded everywhere, so the pretrained weights are a file with random ones.
"""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from torch import save
from torchvision import models

ROOT = Path(__file__).parents[2]
CLASSES = ("Apfel", "Birne", "梨と林檎")
SIZES = ((3000, 4000), (1200, 900), (801, 603), (333, 250))
BROKEN = "photos/train/Apfel/broken.jpg"
TRAINING = (
    *("--config", "my_configs/finetune.yaml", "--config", "my_configs/teacher/own_stage.yaml"),
    *("--data.root", "photos", "--data.image_size", "64", "--data.batch_size", "8", "--epochs_scale", "0.2"),
    *("--model.network.weights", "mobilenet_v2.pth", "--trainer.accelerator", "cpu"),
)
"""A tenth of the pixels and a fifth of the epochs of the config: the story takes minutes, not hours."""


class Story:
    """A working directory, and the commands that are run in it.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dasc = folder / "environment" / "bin" / "dasc"
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def install(self) -> None:
        """Build the wheel, and install it into an environment that has only what the wheel requires."""
        wheels = self.folder / "wheels"
        build = ("build", "--no-isolation", "--outdir", str(wheels), str(ROOT))
        subprocess.run([sys.executable, "-m", *build], check=True, stdout=subprocess.DEVNULL)
        (wheel,) = wheels.glob("dasc-*.whl")
        venv.create(self.folder / "environment", with_pip=True)
        python = self.folder / "environment" / "bin" / "python"
        (packages,) = (self.folder / "environment" / "lib").glob("python*/site-packages")
        for name in sorted(required_packages("dasc")):
            link_package(name, packages)
        subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `dasc WORDS` and check its exit status, and that it shows no traceback."""
        print("$", shlex.join(["dasc", *words]), flush=True)
        done = subprocess.run(
            [self.dasc, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        self.check(done, status)
        return done

    def run_and_interrupt(self, after: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `dasc WORDS`, and press Ctrl-C once a line of standard output has the text `after`."""
        print("$", shlex.join(["dasc", *words]), "   # and Ctrl-C", flush=True)
        process = subprocess.Popen(
            [self.dasc, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if after in line:
                process.send_signal(signal.SIGINT)
                break
        rest, errors = process.communicate(timeout=120)
        done = subprocess.CompletedProcess(words, process.returncode, "".join(lines) + rest, errors)
        self.check(done, 130)
        return done

    def check(self, done: subprocess.CompletedProcess[str], status: int) -> None:
        """Check the exit status of a command, and that it shows no traceback."""
        output = done.stdout + done.stderr
        assert done.returncode == status, f"exit status {done.returncode}, expected {status}:\n{output}"
        assert "Traceback" not in output, output


def required_packages(name: str, extras: Iterable[str] = ()) -> set[str]:
    """Names of the installed packages that a package needs, and that these need, but for the package itself."""
    found: set[str] = set()
    waiting = [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        package, wanted = waiting.pop()
        for text in distribution(package).requires or []:
            requirement = Requirement(text)
            is_needed = not requirement.marker or any(
                requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            )
            entry = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if is_needed and entry not in seen:
                seen.add(entry)
                found.add(entry[0])
                waiting.append(entry)
    return found - {name}


def link_package(name: str, packages: Path) -> None:
    """Put an installed package into another environment, by links to its files: torch alone has several GB.

    Args:
        name: The package.
        packages: `site-packages` of the other environment.
    """
    for file in distribution(name).files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            try:
                target.hardlink_to(file.locate())
            except OSError:
                target.symlink_to(file.locate())


def make_photos(root: Path) -> None:
    """Write JPEG photos of several sizes, one of them upside down by its EXIF orientation, and one broken file."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        for part, count in (("train", 24), ("test", 6)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                save_photo(folder / f"{name} № {index}.jpg", random, number, SIZES[index % len(SIZES)], index == 0)
    (root.parent / BROKEN).write_bytes((root / "train" / "Apfel" / "Apfel № 1.jpg").read_bytes()[:2000])


def save_photo(path: Path, random: np.random.Generator, channel: int, size: tuple[int, int], is_turned: bool) -> None:
    """Write a photo whose colour tells its class."""
    coarse = random.integers(0, 120, (9, 12, 3), dtype=np.uint8)
    coarse[..., channel] += 100
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)
    exif = Image.Exif()
    exif[274] = 3 if is_turned else 1
    image.save(path, quality=85, exif=exif)


def plan_and_train(story: Story) -> None:
    """Plan a training, repair the data, train, interrupt the training and resume it."""
    done = story.run("configs", "my_configs")
    assert "prune_decay.yaml" in done.stdout
    done = story.run("plan", "--config", "my_configs/finetune.yaml", "--data.root", "photos", "--data.image_size", "64")
    for text in ("memory", "TorchvisionNetwork", "70.0%"):
        assert text in done.stdout, f"no {text} in {done.stdout}"
    done = story.run("fit", *TRAINING, "--data.bach_size", "8", status=2)
    assert "data.batch_size" in done.stderr, done.stderr
    done = story.run("fit", *TRAINING, status=2)
    assert BROKEN in done.stderr, done.stderr
    assert not (story.folder / "lightning_logs").exists(), "a training that did not start has a run folder"
    (story.folder / BROKEN).rename(story.folder / "broken.jpg")
    done = story.run_and_interrupt("epoch 3/", "fit", *TRAINING)
    assert "\r" not in done.stdout + done.stderr
    found = re.search(r"To resume: dasc (.*)", done.stderr)
    assert found is not None, done.stderr
    done = story.run(*shlex.split(found[1]))
    rows = list(csv.DictReader(open(story.folder / "lightning_logs/version_0/stages.csv")))
    assert [float(row["sparsity_asked"]) for row in rows] == [0, 0.3, 0.5, 0.7], rows
    assert not (story.folder / "lightning_logs/version_1").exists(), "the run was not resumed but started again"


def test_and_predict(story: Story) -> None:
    """Test the network and predict photos without the pretrained weights, which are not needed any more."""
    (story.folder / "mobilenet_v2.pth").unlink()
    done = story.run("test", *TRAINING, "--ckpt_path", "best")
    assert "95 % interval" in done.stdout, done.stdout
    (record,) = json.loads((story.folder / "lightning_logs/version_0/test.json").read_text())
    assert record["images"] == 18
    images = ("--images", "photos/test", "broken.jpg")
    done = story.run("predict", "--ckpt_path", "best", *images, "--output", "labels.csv", status=1)
    assert "1 of 19 images cannot be read: broken.jpg" in done.stderr, done.stderr
    rows = list(csv.DictReader(open(story.folder / "labels.csv", encoding="utf-8")))
    assert len(rows) == 18
    correct = sum(row["class"] == Path(row["path"]).parent.name for row in rows)
    assert correct == round(record["metrics"]["accuracy"] * 18), "predict and test disagree"
    done = story.run("predict", "--ckpt_path", "best", *images, "--output", "labels.csv", status=2)
    assert "labels.csv" in done.stderr, done.stderr


def main() -> None:
    """Run the story in a temporary folder."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dasc-story-") as folder:
        story = Story(Path(folder))
        story.install()
        print(f"installed after {time.monotonic() - start:.0f} s", flush=True)
        make_photos(story.folder / "photos")
        save(models.mobilenet_v2(weights=None).state_dict(), story.folder / "mobilenet_v2.pth")
        plan_and_train(story)
        test_and_predict(story)
    print(f"the story ended well after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
