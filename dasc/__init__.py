"""Data augmentation schedules for compression."""

from importlib.metadata import version

__version__ = version("dasc")
