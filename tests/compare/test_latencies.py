"""The runtimes in which candidates are measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dasc.compare import latencies as module
from dasc.compare.candidate import Candidate, open_candidate
from dasc.compare.latencies import common_runtime, measure_candidates
from dasc.export.safetensors_file import SafetensorsFormat
from dasc.networks import CifarResNet
from tests.support.exported import model_of
from tests.support.exported_networks import Branching

IMAGES = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    SafetensorsFormat().write(model_of(CifarResNet(10, depth=8), 8), tmp_path / "model.safetensors")
    return open_candidate(tmp_path / "model.safetensors", "own")


def test_without_onnx_runtime_all_are_measured_in_pytorch(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = measure_candidates([candidate, candidate], IMAGES, 1, 0.02)
    assert [set(own) for own in found.latencies] == [{"PyTorch"}] * 2
    assert common_runtime(found.latencies) == "PyTorch"
    assert found.notes == ["latencies in ONNX Runtime need more packages: pip install 'dasc[export]'"]


def test_a_network_that_cannot_be_exported_is_measured_in_pytorch_only(candidate: Candidate) -> None:
    branching = replace(candidate, name="branching", network=Branching())
    found = measure_candidates([branching], IMAGES, 1, 0.02)
    assert set(found.latencies[0]) == {"PyTorch"}
    (note,) = found.notes
    assert note.startswith("branching is not measured in ONNX Runtime: Branching cannot be exported to ONNX (")
    assert note.endswith(")")
    other = {"ONNX Runtime": found.latencies[0]["PyTorch"]}
    assert common_runtime([*found.latencies, other]) is None
