"""`dasc predict` on two processes."""

from pathlib import Path

from dasc.cli import main
from tests.support.command import dasc


def test_two_processes_write_the_predictions_of_one(tiny: Path, tmp_path: Path) -> None:
    base = ("--config", tiny, "--trainer.default_root_dir", tmp_path, "--trainer.limit_train_batches", 1)
    main(["fit", *map(str, base), "--epochs_scale=0.5"])
    # 360 test images in batches of 50 over all processes: the last batch is not full
    predict = ("predict", *base, "--data.eval_batch_size", 50, "--ckpt_path", "last")
    main([*map(str, predict)])
    path = tmp_path / "predictions.csv"
    one = path.read_text()
    path.unlink()
    done = dasc(*predict, "--trainer.devices", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("360 predictions: ") == 1
    assert path.read_text() == one
    assert [line.partition(",")[0] for line in one.splitlines()] == ["index", *map(str, range(360))]
