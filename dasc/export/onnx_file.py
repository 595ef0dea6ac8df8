"""The format `onnx`: a graph for ONNX Runtime and other runtimes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dasc.errors import UserError, one_line
from dasc.export.format import CPU, DeviceError, Format, Model, Run
from dasc.export.silence import silence

OPSET = 18
"""Operator set of the files. torch's exporter writes it without conversion, and runtimes read it since 2022."""
INPUT = "images"
"""Name of the input."""
OUTPUTS = {False: "logits", True: "probabilities"}
"""Name of the output by `Metadata.preprocess`."""

_ON_CPU, _ON_CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_DESCRIPTIONS = ("metadata_props", "doc_string")


class OnnxFormat(Format):
    """ONNX file with a dynamic batch and its weights inside; BatchNorm is folded into the convolutions.

    The input is `images`, the output `logits`, or `probabilities` with `Metadata.preprocess`; the metadata are the
    file's `metadata_props`.
    """

    name = "onnx"
    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")
    has_graph = True

    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file.

        Raises:
            UserError: The exporter cannot translate the network.
        """
        import onnx

        try:
            proto = _translate(self.reference(model), model)
            _strip(proto)
            onnx.helper.set_model_props(proto, self.metadata_of(model).to_strings())
            onnx.checker.check_model(proto, full_check=True)
            content = proto.SerializeToString()
        except Exception as error:  # the exporter's classes differ between versions of torch
            name = type(model.network).__name__
            raise UserError(f"{name} cannot be exported to ONNX ({_text(error)}): leave onnx out of --format") from None
        path.write_bytes(content)

    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the metadata in a file; see `Format.read_metadata`."""
        return {entry.key: entry.value for entry in read_model(path).metadata_props}

    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Load a file into ONNX Runtime; see `Format.open`."""
        session = _session(path, threads, device)
        names = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
        if names[0] != [INPUT] or names[1] not in [[output] for output in OUTPUTS.values()]:
            raise UserError(
                f"{path} must map {INPUT} to logits or probabilities, got {', '.join(names[0])} to "
                f"{', '.join(names[1])}: use a file of dasc export"
            )

        taken = session.get_inputs()[0].shape

        def run(images: Tensor) -> Tensor:
            if not _fits(images, taken):
                shape = ", ".join(map(str, taken))
                raise UserError(f"{path} must be run on images of the shape [{shape}], got {list(images.shape)}")
            try:
                (outputs,) = session.run(None, {INPUT: images.contiguous().numpy()})
            except Exception as error:
                raise UserError(f"{path} cannot be run on {list(images.shape)} images ({_text(error)})") from None
            return torch.from_numpy(outputs)

        return run


def _fits(images: Tensor, taken: Sequence[Any]) -> bool:
    """Return whether a graph takes a batch; its sizes that are no numbers may have any value."""
    return len(taken) == images.dim() and all(
        size == number or not isinstance(number, int) for size, number in zip(images.shape, taken, strict=True)
    )


def _session(path: Path, threads: int, device: torch.device) -> Any:
    """Return the `onnxruntime.InferenceSession` of a file.

    Raises:
        DeviceError: The installed ONNX Runtime cannot use the device.
        UserError: The file cannot be used, and why.
    """
    import onnxruntime

    providers = _providers(device, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised
    content = read_model(path).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes have no public base class
        raise UserError(f"{path} cannot be run by ONNX Runtime ({_text(error)}): export it again") from None
    if len(session.get_providers()) < len(providers):  # ONNX Runtime falls back to the CPU
        raise DeviceError(
            f"--device must be cpu for {path}, got {device}: the installed onnxruntime-gpu cannot load its CUDA "
            "libraries; install those of its version"
        )
    return session


def _providers(device: torch.device, path: Path) -> list[Any]:
    """Return ONNX Runtime's execution providers for a device.

    Raises:
        DeviceError: The installed ONNX Runtime cannot use it.
    """
    import onnxruntime

    if device.type == "cpu":
        return [_ON_CPU]
    if device.type != "cuda":
        raise DeviceError(f"--device must be cpu or cuda for {path}, got {device}: give --device cpu")
    if _ON_CUDA not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"--device must be cpu for {path}, got {device}: the installed onnxruntime has no {_ON_CUDA}; install "
            "onnxruntime-gpu in its place"
        )
    return [(_ON_CUDA, {"device_id": device.index or 0}), _ON_CPU]


def read_model(path: Path) -> Any:
    """Return the `onnx.ModelProto` in a file, which must have its weights inside.

    Raises:
        UserError: The file is missing, no ONNX file, or names other files.
    """
    import onnx

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # DecodeError of protobuf, whose package depends on onnx
        raise UserError(f"{path} is no ONNX file, or it is truncated: export it again") from None
    if not model.graph.node or not model.opset_import:
        raise UserError(f"{path} is no ONNX file, or it is truncated: export it again")
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model)):
        raise UserError(f"{path} must have its weights inside, but it names other files: export it again")
    return model


def _tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors of a protobuf message: in its graphs, nodes, functions and sparse tensors."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)


def _translate(module: nn.Module, model: Model) -> Any:
    """Return the `onnx.ModelProto` of a module."""
    size = model.metadata.input_format.image_size
    is_preprocessed = model.metadata.preprocess
    example = torch.zeros(2, 3, *size, dtype=torch.uint8 if is_preprocessed else torch.float32)
    with silence():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUTS[is_preprocessed]],
            verbose=False,
        )
        assert program is not None
        return program.model_proto


def _strip(model: Any) -> None:
    """Remove what describes the exported source code: paths, and inferred shapes."""
    import onnx

    for part in [model.graph, *model.functions]:
        tensors = [*part.initializer, *part.input, *part.output] if part is model.graph else []
        for entry in [*part.node, *tensors]:
            for field in _DESCRIPTIONS:
                entry.ClearField(field)
        for field in ("value_info", *_DESCRIPTIONS):
            part.ClearField(field)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)


def _text(error: Exception) -> str:
    """Return the type and the start of the text of an error."""
    return f"{type(error).__name__}: {one_line(error)[:200]}"
