"""Each way in, in each order, and what happens where it can't be had."""

from __future__ import annotations

import os
import pathlib

import pytest

from programs import Segment, segment  # noqa: F401

EARLY = """
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
dyn_metrics.prometheus.install()
from prometheus_client import REGISTRY, Counter
from prometheus_client.values import MultiProcessValue, MutexValue, ValueClass, get_value_class
assert MultiProcessValue(lambda: 7) is ValueClass
assert ValueClass is MutexValue is get_value_class() is dyn_metrics.prometheus.values.ValueClass
Counter("c", "Help", ["a"]).labels("x").inc(2)
assert REGISTRY.get_sample_value("c_total", {"a": "x"}) == 2
"""


def test_install_before_prometheus_client_is_imported(segment: Segment) -> None:
    segment.run("-c", EARLY)
    assert segment.value("c_total", a="x") == 2
    assert segment.families()["c"][:3] == ("Help", "counter", "")


LATE = """
import prometheus_client
from prometheus_client import REGISTRY, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.values import MutexValue as Kept
c = Counter("c", "-", ["a"])
kept = c.labels("x")
kept.inc(2, exemplar={"trace": "1"})
private = Counter("of_no_registry", "-", registry=None)
private.inc()
g, s = Gauge("g", "-", multiprocess_mode="sum"), Summary("s", "-")
h = Histogram("h", "-", buckets=[1, 2])
g.set(4)
for metric in (s, h):
    metric.observe(1.5)
e = Enum("e", "-", states=["a", "b"])
e.state("b")
Info("i", "-").info({"version": "7"})
created = REGISTRY.get_sample_value("c_created", {"a": "x"})

import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
assert Kept is prometheus_client.values.ValueClass is dyn_metrics.prometheus.values.ValueClass
kept.inc()
private.inc()
g.inc()
for metric in (s, h):
    metric.observe(0.5)
assert REGISTRY.get_sample_value("c_total", {"a": "x"}) == 3
assert REGISTRY.get_sample_value("c_created", {"a": "x"}) == created
assert b'trace="1"' in prometheus_client.openmetrics.exposition.generate_latest(REGISTRY)
import os
print(os.getpid(), flush=True)
input()
"""


def test_install_after_metrics_were_made_moves_their_numbers(segment: Segment) -> None:
    with segment.start("-c", LATE.replace("import prometheus_client\n", "import prometheus_client.openmetrics.exposition\n", 1)) as process:
        assert process.stdout is not None
        pid = process.stdout.readline().strip()
        found = segment.samples()
        _, err = process.communicate("\n")
        assert (process.returncode, err) == (0, "")

    def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
        return name, frozenset(labels.items())

    assert found == {
        key("c_total", a="x"): 3,
        key("of_no_registry_total"): 2,
        key("g"): 5,
        key("s_count"): 2,
        key("s_sum"): 2,
        key("h_bucket", le="1.0"): 1,
        key("h_bucket", le="2.0"): 2,
        key("h_bucket", le="inf"): 2,
        key("h_count"): 2,
        key("h_sum"): 2,
        key("e", e="a", pid=pid): 0,
        key("e", e="b", pid=pid): 1,
        key("i_info", version="7"): 1,
    }


def test_a_directory_for_multiprocess_mode_stays_empty(segment: Segment, tmp_path: pathlib.Path) -> None:
    source = """
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Info, generate_latest, multiprocess
Counter("c", "-").inc()
Gauge("g", "-", multiprocess_mode="mostrecent").set(1)
Info("i", "-").info({"version": "7"})
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
multiprocess.mark_process_dead(1)
assert REGISTRY.get_sample_value("c_total") == 1
"""
    printed = segment.unchanged(source, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert {"c_total 1.0", "g 1.0", 'i_info{version="7"} 1.0'} <= set(printed.splitlines())
    imported = source.replace("prometheus_client", "dyn_metrics.prometheus")
    segment.run("-c", imported, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert segment.value("c_total") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_collector_needs_no_directory_and_the_dead_need_no_mark(segment: Segment) -> None:
    printed = segment.unchanged("""
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
Counter("c", "-").inc()
Histogram("h", "-", buckets=[0.5, 1000000]).observe(0.1)
multiprocess.mark_process_dead(1)
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
""")
    assert printed.splitlines()[:10] == [
        "# HELP c_total -",
        "# TYPE c_total counter",
        "c_total 1.0",
        "# HELP h -",
        "# TYPE h histogram",
        "h_sum 0.1",
        'h_bucket{le="0.5"} 1.0',
        'h_bucket{le="1e+06"} 1.0',
        'h_bucket{le="+Inf"} 1.0',
        "h_count 1.0",
    ]


PROCESSES = """
import os
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest, multiprocess
Gauge("g", "-").set(1)
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.close(writing)
    Gauge("h", "-").set(1)
    generate_latest(registry)
    print("ready", flush=True)
    os.read(reading, 1)  # until the parent ends
    os._exit(0)
print(os.getpid(), child, flush=True)
assert input() == "go"
print(generate_latest(registry).decode())
ProcessCollector(registry=registry)
print(generate_latest(registry).decode().count("# TYPE process_cpu_seconds_total"))
"""


def test_process_metrics_are_those_of_every_living_process(segment: Segment) -> None:
    with segment.start("-m", "dyn_metrics.run", segment.file(PROCESSES)) as process:
        assert process.stdout is not None
        lines = {process.stdout.readline().strip(), process.stdout.readline().strip()}
        pids = next(line for line in lines if line != "ready").split()
        out, err = process.communicate("go\n")
    assert (process.returncode, err) == (0, "")
    for pid in pids:
        assert f'process_open_fds{{pid="{pid}"}}' in out
    assert out.count("# TYPE process_cpu_seconds_total counter") == 1
    assert out.endswith("\n1\n")


SHOW = """
import sys
import prometheus_client.values
print(prometheus_client.values.ValueClass.__module__, "dyn_metrics" in sys.modules)
"""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1", "dyn_metrics.prometheus._values True"),
        ("true", "dyn_metrics.prometheus._values True"),
        ("", "prometheus_client.values False"),
        ("0", "prometheus_client.values False"),
        ("off", "prometheus_client.values False"),
    ],
)
def test_the_environment_installs_it_without_a_word_in_the_program(segment: Segment, value: str, shown: str) -> None:
    assert segment.run("-c", SHOW, DYN_METRICS_PROMETHEUS=value).stdout.strip() == shown


def test_the_environment_costs_nothing_where_prometheus_client_is_not_used(segment: Segment) -> None:
    source = "import sys; print([name for name in sys.modules if 'prometheus' in name or name == 'dyn_metrics'])"
    done = segment.run("-c", source, DYN_METRICS_PROMETHEUS="1")
    assert done.stdout.strip() == "['_dyn_metrics_prometheus']"
    assert not segment.path.exists()


def test_run_is_python_but_for_the_drop_in(segment: Segment) -> None:
    script = segment.file("import sys; print(sys.argv[1:], __name__, __file__, sys.path[0]); sys.exit(3)")
    with segment.start("-m", "dyn_metrics.run", script, "-m", "--x") as process:
        out, _ = process.communicate()
    assert (process.returncode, out) == (3, f"['-m', '--x'] __main__ {script} {script.parent}\n")
    module = script.with_name("a_module.py")
    module.write_text("import os, sys; print(sys.argv, __name__, os.environ['DYN_METRICS_PROMETHEUS'])")
    done = segment.run("-m", "dyn_metrics.run", "-m", "a_module", "y", PYTHONPATH=str(script.parent))
    assert done.stdout == f"['{module}', 'y'] __main__ 1\n"


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-x"]])
def test_run_says_how_it_is_used(segment: Segment, arguments: list[str]) -> None:
    with segment.start("-m", "dyn_metrics.run", *arguments) as process:
        _, err = process.communicate()
    assert process.returncode == 1 and err.startswith("usage: python -m dyn_metrics.run")


def test_without_prometheus_client_it_says_what_is_needed(segment: Segment) -> None:
    segment.run("-c", """
import sys
sys.modules["prometheus_client"] = None
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
for statement in ("from dyn_metrics.prometheus import Counter", "import dyn_metrics.prometheus.exposition"):
    try:
        exec(statement)
    except ModuleNotFoundError as error:
        assert str(error) == "dyn_metrics.prometheus needs prometheus_client: pip install 'dyn-metrics[prometheus]'", error
    else:
        raise AssertionError(statement)
""")


def test_uninstall_gives_prometheus_client_back(segment: Segment) -> None:
    segment.run("-c", """
import prometheus_client.multiprocess as m, prometheus_client.values as v
before = v.ValueClass, v.MultiProcessValue, m.MultiProcessCollector.collect, m.mark_process_dead
import dyn_metrics.prometheus as p
p.install()
assert p.is_installed() and v.ValueClass is not before[0] and m.mark_process_dead is not before[3]
p.uninstall()
p.uninstall()
assert before == (v.ValueClass, v.MultiProcessValue, m.MultiProcessCollector.collect, m.mark_process_dead)
v.ValueClass("counter", "c", "c_total", (), (), "").inc(1)
""")
    assert not segment.path.exists()


def test_the_import_leaves_prometheus_clients_own_objects_alone(segment: Segment) -> None:
    segment.run("-c", """
import prometheus_client as theirs
import dyn_metrics.prometheus as ours
import dyn_metrics.prometheus.exposition
from dyn_metrics.prometheus.core import Counter as same
assert ours.exposition is theirs.exposition and theirs.exposition.__spec__.name == "prometheus_client.exposition"
assert ours.REGISTRY is theirs.REGISTRY and same is ours.Counter and issubclass(ours.Counter, theirs.Counter)
assert set(theirs.__all__) <= set(dir(ours))
exec("from dyn_metrics.prometheus import *")
assert Counter is ours.Counter
theirs.Counter("private", "-").inc()
ours.Counter("shared", "-").inc()
ours.metrics.disable_created_metrics()
assert b"created" not in theirs.generate_latest()
""")
    assert set(segment.families()) == {"shared"}


def test_the_patched_modules_look_as_if_nobody_had_been_there(segment: Segment) -> None:
    segment.run("-c", """
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
import inspect, prometheus_client.values as values
assert type(values.__spec__.loader).__name__ == "SourceFileLoader" and values.__loader__ is values.__spec__.loader
assert "class MutexValue" in inspect.getsource(values)
""")


def test_finders_of_the_old_kind_are_passed_over(segment: Segment) -> None:
    segment.run("-c", """
import sys
class Old:
    def find_module(self, name, path=None):
        return None
sys.meta_path.insert(0, Old())
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
import warnings
warnings.simplefilter("ignore")
from prometheus_client import Counter
Counter("c", "-").inc()
""")
    assert segment.value("c_total") == 1


ODD = """
from prometheus_client import Counter
class Raising(Counter):
    def __getattribute__(self, name):
        raise RuntimeError(name)
class Own(Counter):
    def _metric_init(self):
        self._value = [0]
unfinished, raising, own = Counter.__new__(Counter), Raising.__new__(Raising), Own("own", "-")
unfinished._name = "unfinished"
class Sub(Counter):
    pass
sub = Sub("sub", "-", ["a"])
sub.labels("x").inc(2)
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
assert own._value == [0]
sub.labels("x").inc()
"""


def test_metric_objects_that_are_no_good_stop_nothing(segment: Segment) -> None:
    segment.run("-c", ODD)
    assert segment.value("sub_total", a="x") == 3


@pytest.mark.parametrize("first", ["import dyn_metrics.prometheus as ours; ours.install()", "pass"])
def test_what_a_version_lacks_is_left_out(segment: Segment, first: str) -> None:
    """As versions before 0.23, without remove_by_labels; one that lacks more works as it does without us."""
    segment.run("-c", f"""
import prometheus_client.metrics as metrics, prometheus_client.multiprocess as multiprocess
del metrics.MetricWrapperBase.remove_by_labels, multiprocess.MultiProcessCollector
{first}
import dyn_metrics.prometheus
dyn_metrics.prometheus.install()
c = metrics.Counter("c", "-", ["a"])
c.labels("x").inc()
c.clear()
""")
    assert segment.value("c_total", a="x") == 1


IN_THE_MIDST = """
import importlib.abc, sys, threading
import dyn_metrics.prometheus
begun, installing = threading.Event(), threading.Event()
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "prometheus_client.context_managers":
            begun.set()
            installing.wait()
sys.meta_path.insert(0, Slow())
def program():
    from prometheus_client import Counter
    Counter("c", "-").inc()
thread = threading.Thread(target=program)
thread.start()
begun.wait()
threading.Timer(0.2, installing.set).start()
dyn_metrics.prometheus.install()
thread.join()
import prometheus_client
assert hasattr(prometheus_client.Info.info, "__wrapped__")
"""


def test_install_waits_for_another_threads_import(segment: Segment) -> None:
    segment.run("-c", IN_THE_MIDST)
    assert segment.value("c_total") == 1


def test_the_environment_installs_it_without_the_import_lock_and_after_a_mere_look(segment: Segment) -> None:
    segment.run("-c", """
import _imp, importlib.util
import dyn_metrics.prometheus as ours
held, install = [], ours.install
ours.install = lambda: (held.append(_imp.lock_held()), install())
importlib.util.find_spec("prometheus_client")
from prometheus_client import Counter
assert held == [False]
Counter("c", "-").inc()
""", DYN_METRICS_PROMETHEUS="1")
    assert segment.value("c_total") == 1
