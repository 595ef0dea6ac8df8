"""The format `sparse`: safetensors files with bitmasks and values, and zstd."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor, nn

from dasc.errors import UserError, one_line
from dasc.export.format import CPU, Format, Model, Run
from dasc.export.formats import check_packages
from dasc.export.layout import (
    DTYPES,
    PREFIX,
    DamageError,
    Header,
    header_length,
    parse_header,
    write_parts,
)
from dasc.export.metadata import Metadata
from dasc.export.rebuild import rebuild, run_of
from dasc.export.sparse import KEY, StoredTensor, check, decode_into, encode, plan, to_half
from dasc.networks import prunable_weights

ZSTD_LEVEL = 19
"""Compression level of files with zstd."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_FRAME_HEADER = 18
"""Largest frame header of zstd in bytes."""

_WINDOW = 2**23
"""Largest window that level 19 uses."""

_EXPANSION = 1000
"""Largest ratio of the dense tensors to the bytes of the file; a network with 99.9 % zeros is below it."""


class SparseFormat(Format):
    """Safetensors file with a bitmask and values for each tensor with enough zeros; see `dasc.export.sparse`.

    Args:
        float16: Whether the weights of convolutions and linear layers are stored as float16. All else, such as biases
            and the parameters and statistics of BatchNorm, keeps its dtype.
        zstd: Whether the file is compressed.
        trust: Modules whose network classes `open` may import, in addition to `dasc.checkpoint.TRUSTED`.
    """

    name = "sparse"
    packages = ("zstandard",)

    def __init__(self, float16: bool = False, zstd: bool = False, trust: Iterable[str] = ()) -> None:
        super().__init__(trust)
        self.float16 = float16
        self.zstd = zstd
        self.suffix = ".sparse.safetensors.zst" if zstd else ".sparse.safetensors"

    def reference(self, model: Model) -> nn.Module:
        """Return the network; with `float16`, a copy whose stored weights are rounded.

        Raises:
            UserError: A weight is over the range of float16.
        """
        if not self.float16:
            return super().reference(model)
        network = deepcopy(model.network)
        with torch.no_grad():
            for name, weight in prunable_weights(network).items():
                weight.copy_(to_half(name, weight))
        return network

    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file.

        Raises:
            UserError: A dtype is not supported, or a weight is over the range of float16; no file is written.
        """
        half = prunable_weights(model.network) if self.float16 else ()
        tensors, sparse = encode(model.network.state_dict(), half)
        strings = self.metadata_of(model).to_strings() | {KEY: sparse}
        parts = [*write_parts(tensors, strings)]
        with path.open("wb") as file, _compressed(file, sum(map(len, parts)), self.zstd) as stream:
            for part in parts:
                stream.write(part)

    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the metadata in a file; see `Format.read_metadata`."""
        with _damage_named(path):
            return _read_head(path).header.metadata

    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Rebuild the network of a file; see `Format.open`. It runs with torch's threads."""
        return run_of(load_sparse(path, self.trust), device)


@torch.no_grad()
def load_sparse(path: str | Path, trust: Iterable[str] = ()) -> nn.Module:
    """Rebuild the network of a file of the format `sparse`, with or without zstd; no code in the file is executed.

    The file and the network together take at most twice the memory of the dense tensors.

    Args:
        path: The file.
        trust: Modules whose network classes may be imported, in addition to `dasc.checkpoint.TRUSTED`.

    Returns:
        The network on the CPU, in eval mode. It maps normalised images (B, 3, H, W) to logits.

    Raises:
        UserError: The file is missing, damaged or of another kind, or names a class that is not trusted.
    """
    path = Path(path)
    with _damage_named(path):
        head = _read_head(path)
        tensors = plan(head.header)
        dense = sum(stored.dense_bytes for stored in tensors.values())
        if dense > _EXPANSION * head.file_bytes:
            raise DamageError(f"its tensors have {dense} bytes, more than {_EXPANSION} times those of the file")
        metadata = _metadata(head.header, path)
        data = _read_data(path, head)
        for name, stored in tensors.items():
            check(name, stored, data)
        state = _zeros(tensors)
        network = rebuild(metadata, state, path, trust)
        _fill(network, tensors, data)
    return network


@dataclass(frozen=True)
class _Head:
    """The header of a file.

    Args:
        text: Its bytes, with the prefix.
        header: The parsed header.
        file_bytes: Bytes of the file.
        zstd: Whether the file is compressed.
    """

    text: bytes
    header: Header
    file_bytes: int
    zstd: bool


def _read_head(path: Path) -> _Head:
    """Read the header of a file, whose tensors must fill the rest of the file.

    Raises:
        DamageError: Anything in it is wrong.
    """
    with path.open("rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        start = file.read(_FRAME_HEADER)
        file.seek(0)
        zstd = start.startswith(_MAGIC)
        size = _content_size(start, file_bytes) if zstd else file_bytes
        with _decompressed(file, zstd) as stream:
            prefix = stream.read(PREFIX)
            length = header_length(prefix, size)
            text = prefix + stream.read(length)
    if len(text) != PREFIX + length:
        raise DamageError("it is truncated")
    header = parse_header(text[PREFIX:])
    if KEY not in header.metadata:
        raise DamageError(f"its metadata have no {KEY!r}")
    if len(text) + header.data_bytes != size:
        raise DamageError(f"it must have {len(text) + header.data_bytes} bytes, got {size}")
    return _Head(text, header, file_bytes, zstd)


def _read_data(path: Path, head: _Head) -> memoryview:
    """Read the tensors of a file.

    Raises:
        DamageError: They are not complete.
    """
    content = path.read_bytes()
    if head.zstd:
        import zstandard

        content = zstandard.ZstdDecompressor().decompress(content, allow_extra_data=False)
    if len(content) != len(head.text) + head.header.data_bytes or not content.startswith(head.text):
        raise DamageError("it was changed while it was read")
    return memoryview(content)[len(head.text) :]


def _content_size(start: bytes, file_bytes: int) -> int:
    """Return the size of the decompressed file; `start` has its frame header."""
    check_packages("a file with zstd", ("zstandard",))
    import zstandard

    frame = zstandard.get_frame_parameters(start)
    if not 0 <= frame.content_size <= _EXPANSION * file_bytes:
        raise DamageError(
            f"its decompressed size must be known and at most {_EXPANSION} times that of the file, "
            f"got {frame.content_size}"
        )
    if frame.window_size > max(frame.content_size, 1024):
        raise DamageError(f"its zstd window has {frame.window_size} bytes, more than the content")
    return int(frame.content_size)


@contextmanager
def _decompressed(file: IO[bytes], zstd: bool) -> Iterator[IO[bytes]]:
    if not zstd:
        yield file
        return
    import zstandard

    with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file, closefd=False) as stream:
        yield cast(IO[bytes], stream)


@contextmanager
def _compressed(file: IO[bytes], size: int, zstd: bool) -> Iterator[IO[bytes]]:
    """Return a stream that writes `size` bytes into a file, compressed if asked."""
    if not zstd:
        yield file
        return
    import zstandard

    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True, write_content_size=True)
    with compressor.stream_writer(file, size=size, closefd=False) as stream:
        yield cast(IO[bytes], stream)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file into an error that names it.

    Raises:
        UserError: The file is missing, damaged or of another kind.
    """
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}: check the path")
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): check the path") from None
    except DamageError as damage:
        text = one_line(damage)[:300]
        raise UserError(f"{path} is no sparse file, or it is damaged: {text}; export it again") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # the package is imported for files with zstd only
            raise
        raise UserError(f"{path} is damaged: {one_line(error)}; export it again") from None


def _metadata(header: Header, path: Path) -> Metadata:
    metadata = Metadata.from_strings(header.metadata, path)
    foreign = header.metadata.keys() - metadata.to_strings().keys() - {KEY}
    if foreign:
        raise DamageError(f"its metadata must not have {min(foreign)!r}")
    return metadata


def _zeros(tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """Return tensors of the same names, shapes and dtypes, which take no memory."""
    return {name: torch.zeros((), dtype=DTYPES[stored.dtype]).expand(stored.shape) for name, stored in tensors.items()}


def _fill(network: nn.Module, tensors: Mapping[str, StoredTensor], data: memoryview) -> None:
    """Write the tensors of a file into the network, one after the other."""
    own = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    for name, stored in tensors.items():
        target = own.get(name)
        if target is not None and target.is_contiguous():
            decode_into(target, stored, data)
        else:
            dense = torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
            decode_into(dense, stored, data)
            network.load_state_dict({name: dense}, strict=False)
