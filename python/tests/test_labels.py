"""labels(): by position, by name, by identity."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from dyn_metrics import Counter, Registry


@pytest.fixture
def counter(registry: Registry) -> Counter:
    return Counter("c", "h", ["a", "b"], registry=registry)


def test_equal_values_give_the_same_object(counter: Counter) -> None:
    child = counter.labels("x", "y")
    fresh = "".join(["x"]), "".join(["y"])
    assert all(
        other is child
        for other in (
            counter.labels("x", "y"),
            counter.labels(*fresh),
            counter.labels(b="y", a="x"),
            counter.labels(*["x", "y"]),
        )
    )
    assert counter.labels("y", "x") is not child


def test_objects_that_are_equal_and_not_the_same_are_one_series(counter: Counter) -> None:
    for number in range(1000):
        counter.labels("".join(["llama-", str(number % 10)]), "".join(["o", "k"])).inc()
    values = [counter.labels(f"llama-{number}", "ok").value() for number in range(10)]
    assert values == [100] * 10


def test_an_address_that_is_used_again_leads_nowhere_else(counter: Counter) -> None:
    # Texts that are made and forgotten: their addresses come back with other texts.
    for number in range(20_000):
        value = f"v{number % 50}"
        assert counter.labels(value, "y").labelvalues == (value, "y")


def test_more_series_than_the_first_tables_hold_are_all_found(counter: Counter) -> None:
    texts = [f"v{number}" for number in range(3000)]
    for _ in range(3):
        for text in texts:
            counter.labels(text, "y").inc()
    assert [counter.labels(text, "y").value() for text in texts] == [3] * 3000


def test_what_is_remembered_of_texts_is_bounded(counter: Counter) -> None:
    child = counter.labels("model-x", "y")
    before = sys.getrefcount(child)
    for _ in range(10_000):
        assert counter.labels("".join(["model", "-x"]), "y") is child
    assert sys.getrefcount(child) - before < 20


def test_numbers_and_other_hashable_objects_are_taken_as_str_shows_them(counter: Counter) -> None:
    class Model(str):
        def __str__(self) -> str:
            return "shown"

    assert counter.labels(200, True).labelvalues == ("200", "True")
    assert counter.labels(1.5, ("t",)).labelvalues == ("1.5", "('t',)")
    assert counter.labels(Model("own"), "b").labelvalues == ("own", "b")


@pytest.mark.parametrize("wrong", [b"x", bytearray(b"x"), None, ["l"], {"a": 1}, {1}])
def test_what_is_no_label_value_is_a_type_error_that_names_the_metric(counter: Counter, wrong: object) -> None:
    calls: list[Callable[[], object]] = [lambda: counter.labels("x", wrong), lambda: counter.labels(a="x", b=wrong)]
    for call in calls:
        with pytest.raises(TypeError, match='metric "c_total": label value: found'):
            call()


def test_counts_and_names_that_don_t_match_are_value_errors_that_name_the_metric(counter: Counter) -> None:
    child = counter.labels("x", "y")
    calls: dict[str, Callable[[], object]] = {
        "found 0 label values, expected 2": lambda: counter.labels(),
        "found 1 label values, expected 2": lambda: counter.labels("x"),
        "found 3 label values, expected 2": lambda: counter.labels("x", "y", "z"),
        "found 9 label values": lambda: counter.labels(*"123456789"),
        'found no label "b"': lambda: counter.labels(a="x"),
        'found label "c"': lambda: counter.labels(a="x", b="y", c="z"),
        "by position and by name": lambda: counter.labels("x", b="y"),
        "its labels have values": lambda: child.labels("x"),
        r'has labels \["a", "b"\]': counter.inc,
        "has labels": counter.value,
    }
    for text, call in calls.items():
        with pytest.raises(ValueError, match=f'metric "c_total".*{text}'):
            call()


def test_a_metric_without_labels_has_none(registry: Registry) -> None:
    with pytest.raises(ValueError, match='metric "c_total".*no labels'):
        Counter("c", "h", registry=registry).labels("x")


def test_more_labels_than_identities_compare_work_all_the_same(registry: Registry) -> None:
    names = [f"l{number}" for number in range(12)]
    counter = Counter("c", "h", names, registry=registry)
    values = [f"v{number}" for number in range(12)]
    counter.labels(*values).inc()
    counter.labels(**dict(zip(names, values))).inc()
    assert counter.labels(*values).value() == 2


def test_children_are_released_with_their_metric(registry: Registry) -> None:
    class Text(str):
        pass

    counter = Counter("c", "h", ["a"], registry=registry)
    text = Text("x")
    counter.labels(text)
    gone = weakref.ref(text)
    del text
    gc.collect()
    assert gone() is None, "objects of other classes than str are not kept"
    value = "".join(["not ", "interned"])
    before = sys.getrefcount(value)
    counter.labels(value)
    assert sys.getrefcount(value) > before
    del counter
    gc.collect()
    assert sys.getrefcount(value) == before


def test_threads_that_ask_at_once_get_the_same_objects_and_lose_nothing(counter: Counter) -> None:
    texts = [f"v{number}" for number in range(100)]
    found: list[list[Counter]] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(20):
            for text in texts:
                counter.labels(text, "y").inc()
        found.append([counter.labels(text, "y") for text in texts])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(children == found[0] for children in found)
    assert [child.value() for child in found[0]] == [80] * 100


def test_what_is_beyond_the_limit_of_series_is_not_kept(registry: Registry) -> None:
    counter = Counter("c", "h", ["a"], registry=registry, max_series=2)
    kept = [counter.labels("x"), counter.labels("y")]
    for _ in range(2):
        for number in range(1000):
            counter.labels(f"user {number}").inc()
    assert counter.labels("x") is kept[0] and counter.labels("user 1") is not counter.labels("user 1")
    series = {series["labels"]["a"]: series["value"] for series in registry.snapshot()["c_total"]["series"]}
    assert series == {"x": 0, "y": 0, "__overflow__": 2000}


def test_children_are_found_anew_in_a_segment_that_replaced_theirs(directory: Path) -> None:
    registry = Registry(path=directory / "segment")
    counter = registry.counter("c", "h", ["a"])
    kept = counter.labels("x")
    kept.inc(0.25)
    (directory / "segment").unlink()
    there = Registry(path=directory / "segment").open()
    counter.labels("new").inc()  # a registration: it looks where the segment is
    for _ in range(3):
        counter.labels("x").inc()
        counter.labels(a="".join(["x"])).inc(0.5)
    kept.inc()
    series = {series["labels"]["a"]: series["value"] for series in there.snapshot()["c_total"]["series"]}
    assert series == {"new": 1, "x": 4.5}


def test_what_is_removed_is_counted_anew(registry: Registry) -> None:
    jobs = registry.counter("removed_jobs", "Jobs", ["worker"])
    worker = "7"
    held = jobs.labels(worker)
    held.inc(5)
    for _ in range(3):
        assert jobs.labels(worker) is held  # by the objects, too
    assert jobs.remove(worker) and not jobs.remove(worker)
    assert "removed_jobs_total{" not in registry.generate_latest().decode()
    held.inc(100)
    again = jobs.labels(worker)
    assert again is not held and again.value() == 0
    for _ in range(3):
        assert jobs.labels(worker) is again
        jobs.labels(worker).inc()
    assert 'removed_jobs_total{worker="7"} 3' in registry.generate_latest().decode()
    assert registry.remove("removed_jobs_total", {"worker": "7"})
    assert jobs.labels(worker=worker).value() == 0
    assert not registry.remove("removed_jobs_total") and not registry.remove("no_such")
    with pytest.raises(ValueError, match="found 2 label values, expected 1"):
        jobs.remove("1", "2")
    with pytest.raises(ValueError, match="no labels"):
        registry.gauge("removed_gauge", "A gauge").remove()


def test_labels_that_come_and_go_stay_exact(registry: Registry) -> None:
    jobs = registry.counter("churning_jobs", "Jobs", ["worker"])
    workers = [str(number) for number in range(20)]
    for round in range(200):
        worker = workers[round * 7 % 20]
        jobs.labels(worker).inc()
        assert jobs.labels(worker).value() == 1
        jobs.remove(worker)
