"""Packages of the wheel: those of dasc, and configs/ as dasc/configs/. The rest is in pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

CONFIGS = ["dasc.configs", *(f"dasc.configs.{name}" for name in find_namespace_packages("configs"))]

setup(
    packages=[*find_packages(include=["dasc*"]), *CONFIGS],
    package_dir={"dasc.configs": "configs"},
    package_data={"dasc": ["py.typed", "study/analysis/report.html.j2"]} | {name: ["*.yaml"] for name in CONFIGS},
)
