"""`dasc predict`: image files from a checkpoint alone, and the test images of a config."""

import csv
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dasc.cli import main
from dasc.errors import UserError
from dasc.prediction import (
    InputFormat,
    Prediction,
    Predictor,
    Unreadable,
    cells,
    columns,
    find_checkpoint,
    find_images,
    new_csv,
    predict_files,
)
from dasc.prediction.images import decode_in_threads
from tests.support.command import dasc
from tests.support.errors import exit_message, user_error
from tests.support.files import noise, save, truncate
from tests.support.photos import BEST, train_on_photos


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, photos of three pets, and a run on them."""
    return train_on_photos(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def best(trained: Path) -> Path:
    return trained / BEST


def rows(path: Path | str = "predictions.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Brightness(Predictor):
    """Predicts `bright` with the mean of an image, and `dark` with the rest."""

    def __init__(self) -> None:
        super().__init__(("dark", "bright"), InputFormat((4, 4), 1.0, (0.0,) * 3, (1.0,) * 3))
        self.batches: list[int] = []

    @property
    def title(self) -> str:
        return "brightness"

    def probabilities(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        bright = images.float().mean((1, 2, 3)) / 255
        return torch.stack([1 - bright, bright], 1)


@pytest.fixture
def photos() -> list[Path]:
    """Seven uniform images, each brighter than the last."""
    shades = (torch.full((6, 6, 3), 40 * shade, dtype=torch.uint8).numpy() for shade in range(7))
    return [save(shade, Path(f"{number}.png")) for number, shade in enumerate(shades)]


def test_image_files_have_the_probabilities_that_the_test_images_of_a_config_have(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    main(["predict", "--config", "config.yaml", "--ckpt_path=best"])
    expected = {row["path"]: row for row in rows()}
    for path in ("config.yaml", "lightning_logs/version_0/config.yaml"):
        Path(path).unlink()
    for part in ("train", "val"):
        shutil.rmtree(Path("pets", part))
    main(["predict", "--images", "pets", "--ckpt_path=best", "--output=new.csv", "--batch_size=5"])
    found = rows("new.csv")
    assert [row["path"] for row in found] == sorted(expected)
    assert len(found) == 36
    for row in found:
        assert row["class"] == expected[row["path"]]["class"]
        assert float(row["probability"]) == pytest.approx(float(expected[row["path"]]["probability"]), abs=2e-6)
        values = [float(row[f"probability{rank}"]) for rank in ("", 2, 3)]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert {row[f"class{rank}"] for rank in ("", 2, 3)} == {"cat", "dog", "hämster"}


def test_a_broken_file_is_named_and_the_others_are_predicted(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["ü b.png", 'a,"b".png', "two\nlines.png", "plain.png"]
    files = [save(noise(9, 7, 3, seed=number), Path("in", name)) for number, name in enumerate(names)]
    truncate(save(noise(9, 7, 3), Path("in/half.png")))
    Path("in/text.jpg").write_text("no image")
    Path("in/phone.HEIC").write_text("another type")
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--images", "in", "--ckpt_path", str(best), "--batch_size=2"])
    assert stop.value.code == 1
    assert [row["path"] for row in rows()] == sorted(map(str, files))
    printed = capsys.readouterr()
    assert "4 predictions: predictions.csv" in printed.out
    said = printed.err.splitlines()
    assert said[0] == "dasc predict: in/phone.HEIC has an unsupported type: convert it to JPEG or PNG"
    assert said[1].startswith("dasc predict: in/half.png cannot be read as an image (")
    assert said[2].startswith("dasc predict: in/text.jpg cannot be read as an image (")
    assert said[3:] == ["dasc predict: 3 of 7 images cannot be read: in/phone.HEIC, in/half.png, in/text.jpg"]


def test_without_any_readable_image_nothing_is_written(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    Path("in/a.png").write_text("no image")
    words = ["predict", "--images", "in", "--ckpt_path", str(best)]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "dasc predict: none of the images can be read, nothing is written to predictions.csv: in/a.png"
    assert [path.name for path in Path().iterdir()] == ["in"]


def test_files_keep_their_order_and_folders_are_sorted() -> None:
    for name in ("b/2.png", "b/10.JPEG", "b/a/z.webp", "b/.hidden.png", "b/.cache/x.png", "b/notes.txt", "c.png", "a"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("b/a/loop").symlink_to(Path("b").absolute())
    for name in ("b/c.heic", "d.txt"):
        Path(name).touch()
    found = find_images(["c.png", "b", "a", "b/2.png", "d.txt"])
    assert found.paths == ["c.png", "b/10.JPEG", "b/2.png", "b/a/z.webp", "a", "b/2.png"]
    assert found.unsupported == ["b/c.heic", "d.txt"]


def test_predictions_come_in_order_and_in_batches_that_broken_files_do_not_shorten(photos: Sequence[Path]) -> None:
    photos[1].write_text("no image")
    predictor = Brightness()
    results = list(predict_files(predictor, [str(path) for path in photos], batch_size=2, threads=3))
    assert predictor.batches == [2, 2, 2]
    unreadable = [result for result in results if isinstance(result, Unreadable)]
    assert [result.path for result in unreadable] == ["1.png"]
    predictions = [result for result in results if isinstance(result, Prediction)]
    assert [result.path for result in predictions] == [f"{number}.png" for number in (0, 2, 3, 4, 5, 6)]
    bright = [40 * shade / 255 for shade in (0, 2, 3, 4, 5, 6)]
    assert [result.classes[0] for result in predictions] == ["dark" if share < 0.5 else "bright" for share in bright]
    assert [result.probabilities[0] for result in predictions] == pytest.approx([max(p, 1 - p) for p in bright])


def test_few_images_are_decoded_before_they_are_used() -> None:
    decoded: list[str] = []

    def decode(path: str) -> Tensor:
        decoded.append(path)
        return torch.zeros(3, 1, 1)

    results = decode_in_threads([str(number) for number in range(1000)], decode, threads=4, ahead=10)
    for used in range(1, 4):
        next(results)
        time.sleep(0.05)
        assert len(decoded) == used + 10
    results.close()


def test_an_error_of_any_kind_is_that_of_one_file() -> None:
    def decode(path: str) -> Tensor:
        if path == "1":
            raise IndexError("of a plugin")
        return torch.zeros(3, 1, 1)

    results = dict(decode_in_threads(["0", "1", "2"], decode, threads=1, ahead=1))
    assert results["1"] == "1 cannot be read as an image (IndexError): repair or remove it"
    assert isinstance(results["2"], Tensor)


def test_there_are_five_classes_at_most() -> None:
    assert columns(2) == ["path", "class", "probability", "class2", "probability2"]
    assert columns(1000)[-2:] == ["class5", "probability5"]
    assert cells(Prediction("a", ["x", "y"], [0.75, 0.25])) == ["a", "x", "0.750000", "y", "0.250000"]


def test_the_table_appears_only_when_it_is_complete() -> None:
    def stop() -> None:
        with new_csv(Path("out/p.csv"), ["path"]) as write_row:
            write_row(["a"])
            assert not Path("out/p.csv").exists()
            raise UserError("stopped")

    assert user_error(stop) == "stopped"
    assert not list(Path("out").iterdir())
    with new_csv(Path("out/p.csv"), ["path"]) as write_row:
        write_row(["a"])
    assert Path("out/p.csv").read_text() == "path\na\n"
    assert len(list(Path("out").iterdir())) == 1


def test_a_file_that_another_program_made_in_the_meantime_is_kept() -> None:
    def write() -> None:
        with new_csv(Path("p.csv"), ["path"]) as write_row:
            write_row(["a"])
            Path("p.csv").write_text("theirs")

    said = user_error(write)
    assert Path("p.csv").read_text() == "theirs"
    other = said.rpartition(" ")[2]
    assert said == f"p.csv was made by another program in the meantime: the predictions are in {other}"
    assert Path(other).read_text() == "path\na\n"


def test_an_output_that_cannot_be_written_is_named() -> None:
    Path("file").touch()

    def write() -> None:
        with new_csv(Path("file/p.csv"), ["path"]):
            pass

    assert user_error(write).startswith("--output file/p.csv cannot be written (")


def test_a_checkpoint_is_named_by_file_run_folder_or_name() -> None:
    for name in ("version_2/checkpoints/last", "version_10/checkpoints/last", "version_2/checkpoints/best"):
        file = Path("root", "lightning_logs", f"{name}.ckpt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    logs = Path("root/lightning_logs")
    best, last = logs / "version_2/checkpoints/best.ckpt", logs / "version_10/checkpoints/last.ckpt"
    for given, path in {
        str(best): best,
        str(logs / "version_2"): best,
        str(best.parent): best,
        str(logs / "version_10"): last,
        "root": last,
        str(logs): last,
        "missing.ckpt": Path("missing.ckpt"),
    }.items():
        assert find_checkpoint(given, Path()) == (path, "")
    with pytest.raises(UserError, match="no run under lightning_logs has a checkpoint 'best'"):
        find_checkpoint("best", Path())


@pytest.mark.parametrize("name", ["best", "last"])
def test_best_and_last_are_those_of_the_newest_run_under_a_root(
    name: str, trained: Path, photos: Sequence[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", "--images", str(photos[0]), f"--ckpt_path={name}", f"--root={trained}"])
    assert f"{trained}/lightning_logs/version_0/checkpoints/{name}.ckpt: CifarResNet on cpu, 3 classes" in (
        capsys.readouterr().out
    )
    assert [row["path"] for row in rows()] == ["0.png"]


def test_a_checkpoint_without_the_image_size_is_named(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = torch.load(best, weights_only=True)
    read["dasc"] = {key: value for key, value in read["dasc"].items() if key not in ("image_size", "checksum")}
    torch.save(read, "other.ckpt")
    save(noise(8, 8, 3), Path("a.png"))
    assert exit_message(["predict", "--images", "a.png", "--ckpt_path=other.ckpt"], capsys) == (
        "dasc predict: other.ckpt cannot be used: the checkpoint does not record image_size: use one of a run on "
        "ImageData"
    )


def test_two_processes_write_the_predictions_and_test_results_of_one(tiny: Path, tmp_path: Path) -> None:
    base = ("--config", tiny, "--trainer.default_root_dir", tmp_path, "--trainer.limit_train_batches", 1)
    main(["fit", *map(str, base), "--epochs_scale=0.5"])
    # 360 test images in batches of 50 over all processes: the last batch is not full
    predict = ("predict", *base, "--data.eval_batch_size", 50, "--ckpt_path", "last")
    main([*map(str, predict)])
    path = tmp_path / "predictions.csv"
    one = path.read_text()
    path.unlink()
    test = ("test", *predict[1:])
    main([*map(str, test)])
    results = tmp_path / "lightning_logs" / "version_0" / "test.json"
    tested = json.loads(results.read_text())
    results.unlink()
    done = dasc(*test, "--trainer.devices", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  accuracy ") == 1
    (record,) = json.loads(results.read_text())
    assert record["images"] == 360
    assert record["metrics"] == pytest.approx(tested[0].pop("metrics"), rel=1e-5)
    assert {key: record[key] for key in tested[0]} == tested[0]
    done = dasc(*predict, "--trainer.devices", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("360 predictions: ") == 1
    assert path.read_text() == one
    assert [line.partition(",")[0] for line in one.splitlines()] == ["index", *map(str, range(360))]
