"""What the wheel holds: `rere`, `ops`, and the commands as `ops.commands`. Pipelines and steps belong to a project.

All else about the package stands in pyproject.toml, which can't list found packages and a moved one together.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rere", "rere.*", "ops", "ops.*"]), "ops.commands"],
    package_dir={"ops.commands": "commands"},
)
