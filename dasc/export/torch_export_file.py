"""The format `torch_export`: a graph for `torch.export.load`, AOTInductor and ExecuTorch."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from dasc.errors import UserError, one_line
from dasc.export.format import CPU, Format, Model, Run
from dasc.export.rebuild import run_of
from dasc.export.silence import silence
from dasc.export.torch_archive import METADATA, read_extra, safe_archive

_SOURCE = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""Descriptions of the source code of a node, such as paths; no runtime uses them."""


class TorchExportFormat(Format):
    """Archive of `torch.export.save` with a dynamic batch; the metadata are the extra file `dasc.json`.

    `torch.export.load` executes code that is in an archive: pickled objects, and Python expressions for shapes. `open`
    passes on to it only what `write` writes, and refuses other archives; see `dasc.export.torch_archive`. An archive
    that is loaded by `torch.export.load` itself must be trusted.
    """

    name = "torch_export"
    suffix = ".pt2"
    has_graph = True

    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file.

        Raises:
            UserError: torch.export cannot trace the network.
        """
        form = model.metadata.input_format
        dtype = torch.uint8 if model.metadata.preprocess else torch.float32
        buffer = BytesIO()  # to a path, torch.export.save adds a suffix and the name of the file
        try:
            with silence():
                program = torch.export.export(
                    self.reference(model),
                    (torch.zeros(2, 3, *form.image_size, dtype=dtype),),
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                )
                _strip(program)
                metadata = json.dumps(self.metadata_of(model).to_strings())
                torch.export.save(program, buffer, extra_files={METADATA: metadata})
        except Exception as error:  # torch.export has many classes of errors
            name, text = type(model.network).__name__, f"{type(error).__name__}: {one_line(error)[:200]}"
            raise UserError(
                f"{name} cannot be exported by torch.export ({text}): leave torch_export out of --format"
            ) from None
        path.write_bytes(buffer.getbuffer())

    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the metadata in a file; see `Format.read_metadata`."""
        try:
            strings = json.loads(read_extra(path) or "{}")
        except (ValueError, RecursionError):
            strings = None
        if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
            raise UserError(f"{path} is damaged: its metadata are wrong; export it again")
        return strings

    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Load a file without executing code in it; see `Format.open`. It runs with torch's threads."""
        return run_of(load_program(path, device), device)


def load_program(path: Path, device: torch.device = CPU) -> nn.Module:
    """Load the graph of a file of the format `torch_export`; no code in the file is executed.

    Args:
        path: The file.
        device: Device of the graph.

    Returns:
        The graph; its state_dict has the names of the exported module.

    Raises:
        UserError: The file is missing, damaged or of another kind.
    """
    archive = safe_archive(path)
    try:
        with silence():
            program = move_to_device_pass(torch.export.load(archive), device)
            module: nn.Module = program.module()
    except Exception as error:  # whatever the file makes of the parser
        text = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise UserError(f"{path} cannot be loaded by torch.export ({text}): export it again") from None
    return module


def _strip(program: torch.export.ExportedProgram) -> None:
    """Remove the description of the source code from all graphs of a program."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for name in _SOURCE:
                node.meta.pop(name, None)
