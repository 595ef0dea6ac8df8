"""A trainer that only trains: on the CPU, without files, bars and loggers."""

from typing import Any

from lightning.pytorch import Trainer


def bare_trainer(**settings: Any) -> Trainer:
    """Return Lightning's own trainer with `settings`."""
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(given | settings))
