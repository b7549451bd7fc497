"""What the code imports is what pyproject.toml asks for, and what it asks for is pinned."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

PROJECT = Path(__file__).parents[3]
# What only some users need: modules of the package that import it are themselves imported only
# there.
OPTIONAL = ("insightface", "postgres", "s3", "ray", "kubernetes", "bitsandbytes", "prodigyopt")
# Installed with --no-deps (requirements/no-deps.txt); a part of pydantic, which pins it exactly.
ELSEWHERE = {"insightface", "pydantic-core"}


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(text: list[str]) -> set[str]:
    return {
        normal(re.split(r"[\s\[<>=!~;]", line)[0])
        for line in text
        if line and not line.startswith("#")
    }


def imported(folder: str) -> set[str]:
    """Top-level names of everything that is imported anywhere below a folder, standard library and
    own package left out.
    """
    names = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"avatar_pipeline", "tests"}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    return requirements(lines)


def distributions(names: set[str]) -> set[str]:
    """The distribution of each imported name; opencv comes under several names, of which the
    headless one is meant.
    """
    known = packages_distributions()
    found = {normal(known[name][0]) for name in names if name in known}
    return {"opencv-python-headless" if name.startswith("opencv") else name for name in found}


def test_the_package_declares_what_it_imports() -> None:
    assert distributions(imported("avatar_pipeline")) - declared(*OPTIONAL) - ELSEWHERE == set()


def test_the_tests_declare_what_they_import() -> None:
    assert distributions(imported("tests")) - declared("test", *OPTIONAL) - ELSEWHERE == set()


def test_every_direct_dependency_is_pinned() -> None:
    pinned = requirements((PROJECT / "requirements" / "constraints.txt").read_text().splitlines())
    assert declared("test", "dev", *OPTIONAL) - pinned - {"avatar-pipeline"} == set()
