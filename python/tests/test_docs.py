"""Every example in docstrings and in README.md runs."""

import doctest
import os
import textwrap
import types
from pathlib import Path

from conftest import run

import dyn_metrics
from dyn_metrics import _native, errors

README = Path(__file__).parent.parent / "README.md"
REGISTRIES = Path(__file__).parents[2] / "docs" / "REGISTRIES.md"
COMPOSITES = REGISTRIES.with_name("COMPOSITES.md")


def globals_(directory: Path) -> dict[str, object]:
    names = {name: getattr(dyn_metrics, name) for name in dyn_metrics.__all__}
    return {**names, "dyn_metrics": dyn_metrics, "segment": str(directory / "segment"), "os": os}


def docstrings() -> dict[str, str]:
    found = {}
    for module in (dyn_metrics, _native, errors):
        for name, what in vars(module).items():
            members = vars(what).items() if isinstance(what, type) else ()
            for key, thing in [(name, what), *((f"{name}.{member}", value) for member, value in members)]:
                text = getattr(thing, "__doc__", None)
                if not key.startswith("__") and isinstance(text, str) and ">>>" in text:
                    if not isinstance(thing, (types.ModuleType, int, str)):
                        found[key] = text
    return found


def test_the_examples_in_docstrings_run(directory: Path) -> None:
    texts = docstrings()
    assert len(texts) >= 14, sorted(texts)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    for name, text in texts.items():
        test = doctest.DocTestParser().get_doctest(text, globals_(directory), name, None, 0)
        assert test.examples
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_the_examples_in_the_readme_run(directory: Path) -> None:
    test = doctest.DocTestParser().get_doctest(README.read_text(), globals_(directory), "README.md", None, 0)
    assert len(test.examples) >= 10
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_the_code_in_the_page_about_registries_runs(directory: Path) -> None:
    if not REGISTRIES.exists():
        return  # of a source distribution, which has no such page
    blocks = [part.split("```")[0] for part in REGISTRIES.read_text().split("```python\n")[1:]]
    assert len(blocks) >= 2
    found = run("\n".join(blocks) + "\nprint(names, runtime.prometheus_format_str())", DYN_METRICS_SHM=str(directory / "segment"))
    assert "['router_requests_total', 'router_latency_seconds']" in found
    assert 'dynamo_requests_total{component="backend",endpoint="generate",model="llama",namespace="prod"} 1\n' in found


def test_the_code_in_the_page_about_composites_runs(directory: Path) -> None:
    if not COMPOSITES.exists():
        return  # of a source distribution, which has no such page
    (block,) = [part.split("```")[0] for part in COMPOSITES.read_text().split("```python\n")[1:]]
    before = """
        from dyn_metrics import REGISTRY as registry
        family = registry.create_gauge_vec("queue_depth", "Requests that wait", ["model"])
        family.labels("llama").set(3.5)
    """
    found = run(textwrap.dedent(before) + block + "print(depth.read())", DYN_METRICS_SHM=str(directory / "segment"))
    assert found.strip() == block.split("# ")[1].strip()
