"""The benchmarks of the GPU, on the CPU with little work, and that of the start."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml

from dasc.networks import CifarResNet, count
from tests.support.command import dasc

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*args: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_the_table_has_a_number_of_dasc_one_of_a_peer_or_bound_and_their_ratio() -> None:
    done = run("--device=cpu", "--quick", "--output=table.md")
    assert done.returncode == 0, done.stderr
    table = Path("table.md").read_text()
    assert done.stdout.endswith(table)
    device, _, *lines = table.splitlines()
    assert device.startswith("Device: CPU; ")
    assert all(f"{package} {version(package)}" in device for package in ("dasc", "torch", "lightning"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0].partition(",")[0] for row in rows] == [
        *("RandAugment", "RandAugment", "dasc fit", "step"),
    ]
    for _, ours, other, ratio in rows:
        one, two = (float(text.replace(",", "").split()[-1]) for text in (ours, other))
        assert float(ratio) == pytest.approx(one / two, rel=0.2, abs=0.02)
        assert re.fullmatch(r"\d+\.\d\d", ratio)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence() -> None:
    done = run()
    assert done.returncode == 1
    assert done.stderr.strip() == "bench-gpu needs a CUDA GPU: torch.cuda.is_available() is False on this machine."
    assert done.stdout == ""


def test_the_start_of_commands_is_printed_beside_that_of_their_imports() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    script = SCRIPT.with_name("start.py")
    command = [sys.executable, str(script), "--repeats=1", "--commands", "dasc --version", "dasc plan"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    rows = {name: [float(text) for text in texts] for name, *texts in (line.strip("| ").split(" | ") for line in lines)}
    assert list(rows) == ["imports", "dasc --version", "dasc plan"]
    for seconds, least, ratio in rows.values():
        assert seconds == least
        assert ratio == pytest.approx(seconds / rows["imports"][0], abs=0.02)
    assert rows["dasc --version"][0] < rows["imports"][0]  # it needs none of them


def test_the_throughput_of_a_study_is_printed_over_the_trainings_at_a_time() -> None:
    script = SCRIPT.with_name("study.py")
    command = [sys.executable, str(script), "--jobs", "1", "--cpus", "1", "--epochs", "1", "--precision", "32-true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    jobs, cpus, each, together = (text.strip().replace(",", "") for text in line.strip("|").split("|"))
    assert (jobs, cpus) == ("1", "1")
    assert float(each) == float(together) > 0


def test_networks_of_a_study_are_compared_as_onnx_and_int8_files() -> None:
    study = {
        "extends": str(SCRIPT.parents[1] / "configs" / "studies" / "medium" / "channels.yaml"),
        "name": "tiny",
        "configs": [str(SCRIPT.parents[1] / "configs" / "channels.yaml")],
        "set": {
            "data.train_size": 200,
            "trainer.check_val_every_n_epoch": 1,
            "stages": [{"epochs": 1, "magnitude": 4}, {"epochs": 1}],
            "trainer.accelerator": "cpu",
        },
        "axes": {
            "network": {"dense": {}, "half": {"stages[1].channels": 0.5}},
            "magnitude": {"stages[1].magnitude": [4]},
            "seed": {"seed_everything": [0, 1]},
        },
        "baseline": {"network": "dense"},
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(study))
    dasc("study", "run", "tiny.yaml", "--jobs", "1")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [
        "lightning_logs/studies/tiny",
        "--axis=network",
        "--where",
        "magnitude=4",
        "--image_size=16",
        "--latency_seconds=1",
    ]
    command = [sys.executable, str(SCRIPT.with_name("deployment.py")), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:6]]
    assert [row[:3] for row in rows] == [[n, k, "2"] for n in ("dense", "half") for k in ("float32", "int8")]
    assert all(re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", row[3]) for row in rows)
    network = CifarResNet(10)
    assert int(rows[0][5].replace(",", "")) == count(network, (16, 16)).macs > 3 * int(rows[2][5].replace(",", ""))
    times = [float(row[6].split()[0]) for row in rows]
    assert [float(row[8]) for row in rows] == pytest.approx([time / times[0] for time in times], abs=0.02)
