"""The wheel is enough: it has the configs, and a run starts from them without a clone."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.support import command

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs"
SOURCES = ("LICENSE", "README.md", "configs", "dasc", "pyproject.toml", "setup.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel, built from a source distribution, is unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    source, built, unpacked = folder / "source", folder / "dist", folder / "unpacked"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    assert len(list(built.glob("*.tar.gz"))) == 1
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(unpacked)
    return unpacked


def dasc(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `dasc` of the wheel, as in an environment that it is installed in."""
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-c", "from dasc.cli import main; main()", *words]
    return subprocess.run(python, env=environment, capture_output=True, text=True, timeout=600, check=False)


def relative_files(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}


def test_the_wheel_has_every_config_and_module_and_the_types(installed: Path) -> None:
    assert relative_files(installed / "dasc" / "configs", "*") == relative_files(CONFIGS, "*")
    assert relative_files(installed / "dasc", "*.py") == relative_files(REPOSITORY / "dasc", "*.py")
    assert (installed / "dasc" / "py.typed").is_file()
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"dasc"}


def test_the_metadata_are_those_of_the_project_and_the_readme_describes_it(installed: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (text,) = (path.read_text() for path in installed.glob("*.dist-info/METADATA"))
    metadata = message_from_string(text)
    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
    assert metadata["License-Expression"] == project["license"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (REPOSITORY / "README.md").read_text().strip()
    requirements = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(requirements) == len(project["dependencies"])


def test_a_run_and_a_study_start_from_the_configs_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    copied = dasc(installed, "configs", "my configs")
    assert copied.returncode == 0, copied.stderr
    assert relative_files(tmp_path / "my configs", "*") == relative_files(CONFIGS, "*")
    count, first = copied.stdout.splitlines()
    assert count == f"Copied {len(relative_files(CONFIGS, '*'))} configs to my configs/"
    assert first.endswith("dasc fit --config 'my configs/prune_decay.yaml'")
    run = dasc(installed, "fit", "--config", "my configs/prune_decay.yaml", "--trainer.fast_dev_run", "1")
    assert run.returncode == 0, run.stderr
    plan = command.dasc("study", "plan", "my configs/studies/smoke/fig3.yaml")
    assert plan.returncode == 0, plan.stderr


def test_configs_are_not_overwritten(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "studies" / "fig1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    refused = dasc(installed, "configs", "mine")
    assert refused.returncode == 2
    assert refused.stderr == (
        "dasc configs: DIR must be a folder without configs of dasc, got mine with mine/studies/fig1.yaml: "
        "name another\n"
    )
    assert relative_files(tmp_path, "*") == {Path("mine/studies/fig1.yaml"): b"mine"}


def test_the_configs_of_a_clone_are_copied_to_configs_by_default(tmp_path: Path) -> None:
    copied = dasc(REPOSITORY, "configs")
    assert copied.returncode == 0, copied.stderr
    assert relative_files(tmp_path / "configs", "*") == relative_files(CONFIGS, "*")
