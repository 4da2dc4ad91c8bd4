"""The stubs say what is there, and type checkers understand them."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import dyn_metrics
from dyn_metrics import _native

ROOT = Path(__file__).parent.parent


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_the_package_its_tests_and_code_that_uses_it() -> None:
    names = ["classes", "composites", "declared", "docs", "errors", "labels", "processes", "registries"]
    tests = [f"tests/test_{name}.py" for name in [*names, "system", "testing", "together", "typing", "watch"]]
    check("mypy", "python/dyn_metrics", "tests/typed.py", *tests)


def test_the_stubs_are_what_is_there() -> None:
    check("mypy.stubtest", "dyn_metrics", "--mypy-config-file", "pyproject.toml")


def test_all_names_what_is_public() -> None:
    names = {name for name, what in vars(dyn_metrics).items() if not isinstance(what, ModuleType)}
    public = {name for name in names if name.isidentifier() and not name.startswith("_")}
    assert public - {"TYPE_CHECKING"} == set(dyn_metrics.__all__)
    assert dyn_metrics.__all__ == sorted(dyn_metrics.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))


def test_everything_public_has_documentation() -> None:
    for name in dyn_metrics.__all__:
        what = getattr(dyn_metrics, name)
        if name != "REGISTRY":
            assert what.__doc__, name
        if isinstance(what, type) and what.__module__ == "dyn_metrics" and what.__name__ in dir(_native):
            for member, value in vars(what).items():
                if not member.startswith("_"):
                    assert value.__doc__, f"{name}.{member}"
