"""The data of a finished run, from what its checkpoint records."""

from collections.abc import Mapping
from typing import Any

from dasc.data.image_data import ImageData
from dasc.errors import UserError

_SETTINGS = ("dataset", "train_size", "split_seed", "crop")


def recorded_data(recorded: Mapping[str, Any], root: str | None = None) -> ImageData:
    """Return the images of a run, split and prepared as they were in it.

    Args:
        recorded: The data of its checkpoint under `dasc`.
        root: Folder of the data set; None: the one of the run.

    Raises:
        UserError: The checkpoint records no data, or they are not there.
    """
    settings = recorded.get("data")
    if not settings or not recorded.get("classes"):
        raise UserError("the checkpoint must record its data, got one of a run without ImageData: use another one")
    is_folder = settings["dataset"] == "folder"
    data = ImageData(
        **{name: settings[name] for name in _SETTINGS if name in settings},
        root=root or recorded.get("root") or "data",
        class_names=list(recorded["classes"]) if is_folder else None,
    )
    data.use(recorded)
    return data
