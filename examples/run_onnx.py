"""Run exported ONNX files on the test images of the digits, by ONNX Runtime and NumPy.

    python examples/run_onnx.py lightning_logs/version_0/export/model.onnx

Only the images come from dasc: a device needs NumPy, ONNX Runtime and the file.
"""

import argparse
import json
import time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dasc.data import ImageData


def test_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the test images, uint8 (N, 3, 8, 8), and their classes, int64 (N,)."""
    data = ImageData(dataset="digits")
    data.setup("test")
    batches = list(data.test_dataloader())
    pixels = np.concatenate([batch.images.numpy() for batch in batches])
    return pixels, np.concatenate([batch.targets.numpy() for batch in batches])


def predict(path: str, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the predicted classes, int64 (N,).

    Args:
        path: The file.
        pixels: uint8 (N, 3, H, W), of the image size in the file's metadata.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    images: NDArray[np.uint8] | NDArray[np.float32] = pixels
    if not metadata["preprocess"]:
        mean, std = (np.array(metadata[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
        images = ((pixels / 255 - mean) / std).astype(np.float32)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images})
    classes: NDArray[np.int64] = np.asarray(outputs).argmax(1)
    return classes


def main() -> None:
    """Print the accuracy of each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="an ONNX file of dasc export")
    pixels, classes = test_images()
    for path in parser.parse_args().files:
        start = time.perf_counter()
        correct = int((predict(path, pixels) == classes).sum())
        seconds = time.perf_counter() - start
        share = f"{correct} of {len(classes)} test images are right ({100 * correct / len(classes):.2f} %)"
        print(f"{path}: {share}, {seconds:.2f} s with loading")


if __name__ == "__main__":
    main()
