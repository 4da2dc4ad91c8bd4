"""Bad input: the exception that a Python person expects, with the metric's name in it, and a segment as it was."""

import errno
import math
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import cannot, run
from dyn_metrics import (
    ConflictError,
    Counter,
    DynMetricsError,
    Enum,
    Gauge,
    Histogram,
    InvalidTypeError,
    InvalidValueError,
    Registry,
    SegmentBusyError,
    SegmentError,
    SegmentFullError,
    SegmentNotFoundError,
    SegmentPermissionError,
    errors,
)


def test_every_exception_is_one_of_ours_and_a_builtin() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, DynMetricsError)
        assert name == "DynMetricsError" or issubclass(kind, (ValueError, TypeError, OSError))
    assert issubclass(SegmentNotFoundError, FileNotFoundError)
    assert issubclass(SegmentPermissionError, PermissionError)
    assert issubclass(SegmentBusyError, BlockingIOError)


def test_exceptions_can_be_pickled(registry: Registry) -> None:
    with pytest.raises(ValueError) as caught:
        Counter("x y", "h", registry=registry)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (InvalidValueError, str(caught.value))


LONG = "x" * 65536

BAD: dict[str, tuple[type[DynMetricsError], Callable[[Registry], object]]] = {
    # what the text must contain -> the exception and the call
    r'metric name "a b_total"': (InvalidValueError, lambda r: r.counter("a b", "h")),
    r'metric name "xxx.*65542 bytes': (InvalidValueError, lambda r: r.counter(LONG, "h")),
    r"Counter\(\): name: found an empty": (InvalidValueError, lambda r: r.counter("", "h")),
    r"Counter\(\): name: found surrogates": (InvalidValueError, lambda r: r.counter("\ud800", "h")),
    r"Counter\(\): name: found bytes": (InvalidTypeError, lambda r: r.counter(b"c", "h")),  # type: ignore[arg-type]
    r"Counter\(\): name: found int": (InvalidTypeError, lambda r: r.counter(3, "h")),  # type: ignore[arg-type]
    r'"c_total": documentation: found None': (InvalidTypeError, lambda r: r.counter("c", None)),  # type: ignore[arg-type]
    r'"c_total": documentation: found surr': (InvalidValueError, lambda r: r.counter("c", "\udfff")),
    r'"c_total": labelnames: found str': (InvalidTypeError, lambda r: r.counter("c", "h", "ab")),
    r'"c_total": labelnames: found bytes': (InvalidTypeError, lambda r: r.counter("c", "h", b"ab")),  # type: ignore[arg-type]
    r'"c_total": labelnames: found int': (InvalidTypeError, lambda r: r.counter("c", "h", [1])),  # type: ignore[list-item]
    r'"c_total": found label "a" twice': (InvalidValueError, lambda r: r.counter("c", "h", ["a", "a"])),
    r'"c_total": label name "__a" is reserved': (InvalidValueError, lambda r: r.counter("c", "h", ["__a"])),
    r'"c_total": label name "x': (InvalidValueError, lambda r: r.counter("c", "h", [LONG])),
    r'"h": found label "le"': (InvalidValueError, lambda r: r.histogram("h", "h", ["le"])),
    r'"c_total": level: found 300, expected 0 to 255': (InvalidValueError, lambda r: r.counter("c", "h", level=300)),
    r'"c_total": level: found str': (InvalidTypeError, lambda r: r.counter("c", "h", level="1")),  # type: ignore[arg-type]
    r'"c_total": option max_series': (InvalidValueError, lambda r: r.counter("c", "h", max_series=0)),
    r'"g": multiprocess_mode: found .most.': (InvalidValueError, lambda r: r.gauge("g", "h", multiprocess_mode="most")),  # type: ignore[arg-type]
    r'"g": multiprocess_mode: found int': (InvalidTypeError, lambda r: r.gauge("g", "h", multiprocess_mode=1)),  # type: ignore[arg-type]
    r'"h": bounds hold 1 before 1': (InvalidValueError, lambda r: r.histogram("h", "h", buckets=[1, 1])),
    r'"h": bounds are empty': (InvalidValueError, lambda r: r.histogram("h", "h", buckets=[])),
    r'"h": bounds hold NaN': (InvalidValueError, lambda r: r.histogram("h", "h", buckets=[math.nan])),
    r'"h": bounds number 300': (InvalidValueError, lambda r: r.histogram("h", "h", buckets=range(300))),
    r'"h": buckets: found int': (InvalidTypeError, lambda r: r.histogram("h", "h", buckets=3)),  # type: ignore[arg-type]
    r'"h": value: found str': (InvalidTypeError, lambda r: r.histogram("h", "h", buckets="123")),  # type: ignore[arg-type]
    r'"e": states number 0': (InvalidValueError, lambda r: r.enum("e", "h")),
    r'"e": states hold "a" twice': (InvalidValueError, lambda r: r.enum("e", "h", states=["a", "a"])),
    r'"e": states: found str': (InvalidTypeError, lambda r: r.enum("e", "h", states="ab")),
    r'"i_info": info: found list': (InvalidTypeError, lambda r: r.info("i", "h").info([])),  # type: ignore[arg-type]
    r'"i_info": label name: found int': (InvalidTypeError, lambda r: r.info("i", "h").info({1: "a"})),  # type: ignore[dict-item]
    r'"i_info": label value: found bytes': (InvalidTypeError, lambda r: r.info("i", "h").info({"a": b"a"})),
    r"missing required argument 'documentation'": (InvalidTypeError, lambda r: r.counter("c")),  # type: ignore[call-arg]
    r"unexpected keyword argument 'buckets'": (InvalidTypeError, lambda r: r.counter("c", "h", buckets=[1])),  # type: ignore[call-arg]
    r"multiple values for argument 'name'": (InvalidTypeError, lambda r: r.counter("c", "h", name="d")),  # type: ignore[misc]
    r"at most 7 positional": (InvalidTypeError, lambda r: Counter("c", "h", (), "", "", "", None, 1)),  # type: ignore[call-arg]
    r'"c": registry: found int': (InvalidTypeError, lambda r: Counter("c", "h", registry=3)),  # type: ignore[arg-type]
    r'prefix "9"': (InvalidValueError, lambda r: r.child("9")),
    r'"p_\*": found label "a" twice': (InvalidValueError, lambda r: r.child("p_", {"a": "1"}).child("", {"a": "2"})),
    r'"p_\*": labels: found list': (InvalidTypeError, lambda r: r.child("p_", [])),  # type: ignore[arg-type]
    r"Registry\(\): path: found 3": (InvalidTypeError, lambda r: Registry(path=3)),  # type: ignore[arg-type]
    r"Registry\(\): option max_bytes: found '1'": (InvalidTypeError, lambda r: Registry(max_bytes="1")),  # type: ignore[arg-type]
    r"Registry\(\): option mode: found -1": (InvalidValueError, lambda r: Registry(mode=-1)),
    r"option mode: found 0200": (InvalidValueError, lambda r: Registry(path=r.path, mode=0o200).open()),
    r"unexpected keyword argument 'modes'": (InvalidTypeError, lambda r: Registry(modes=3)),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("text", BAD)
def test_what_can_t_be_registered_is_refused_and_changes_nothing(registry: Registry, text: str) -> None:
    registry.counter("there", "h").inc()
    before = registry.snapshot()
    kind, call = BAD[text]
    with pytest.raises(kind, match=text) as caught:
        call(registry)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    after = registry.snapshot()
    after.pop("i_info", None)  # the family of an info whose facts were refused
    assert after == before


def test_a_family_that_differs_is_named_with_who_registered_it(registry: Registry) -> None:
    Gauge("g", "h", registry=registry)
    for make in (
        lambda: Counter("g", "h", registry=registry),
        lambda: Histogram("g", "h", registry=registry),
        lambda: Gauge("g", "h", registry=registry, multiprocess_mode="max"),
        lambda: Enum("g", "h", registry=registry, states=["a"]),
    ):
        with pytest.raises(ConflictError, match=f'"g.*registered by.*pid {os.getpid()}'):
            make()


@pytest.mark.parametrize("wrong", ["1", b"1", None, [1], {}, object(), 1j])
def test_what_is_no_number_is_a_type_error_that_names_the_metric(registry: Registry, wrong: object) -> None:
    updates: dict[str, Callable[..., None]] = {
        "c_total": registry.counter("c", "h").inc,
        "ic_total": registry.int_counter("ic", "h").inc,
        "dc_total": registry.duration_counter("dc", "h").inc,
        "g": registry.gauge("g", "h").set,
        "g2": registry.gauge("g2", "h").inc,
        "g3": registry.gauge("g3", "h").dec,
        "ig": registry.int_gauge("ig", "h").set,
        "dg": registry.duration_gauge("dg", "h").set,
        "h": registry.histogram("h", "h").observe,
        "s": registry.summary("s", "h").observe,
    }
    before = registry.snapshot()
    for name, update in updates.items():
        with pytest.raises(InvalidTypeError, match=f'metric "{name}": value: found'):
            update(wrong)
    assert registry.snapshot() == before


def test_negative_increments_are_value_errors_that_name_the_metric(registry: Registry) -> None:
    for counter in (registry.counter("c", "h"), registry.int_counter("ic", "h"), registry.duration_counter("dc", "h")):
        for amount in (-1, -(2**33)):
            with pytest.raises(InvalidValueError, match=f'"{counter.name}".*increment of {amount}'):
                counter.inc(amount)
        assert counter.value() == 0
    with pytest.raises(ValueError, match="increment of -0.5"):
        registry.counter("c", "h").inc(-0.5)


def test_numbers_beyond_what_fits_are_value_errors(registry: Registry) -> None:
    with pytest.raises(ValueError, match='"c_total": value: found an int that no float'):
        registry.counter("c", "h").inc(10**400)
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match='"g": value: found an int that 64 bits'):
            registry.int_gauge("g", "h").set(number)
    registry.counter("c", "h").inc(2**70)
    assert registry.counter("c", "h").value() == 2.0**70


def test_an_exception_of_the_number_itself_goes_through(registry: Registry) -> None:
    class Odd:
        def __float__(self) -> float:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        registry.gauge("g", "h").set(Odd())


def test_what_is_interrupted_is_not_taken_for_a_wrong_type(registry: Registry) -> None:
    class Interrupted:
        def __hash__(self) -> int:
            raise KeyboardInterrupt

        def __iter__(self) -> Iterator[str]:
            raise KeyboardInterrupt

    calls: list[Callable[[], object]] = [
        lambda: registry.counter("c", "h", ["a"]).labels(Interrupted()),
        lambda: registry.counter("d", "h", Interrupted()),
        lambda: registry.histogram("h", "h", buckets=Interrupted()),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(KeyboardInterrupt):
            call()


def test_a_dict_that_changes_while_it_is_read(registry: Registry) -> None:
    class Changing:
        def __str__(self) -> str:
            facts["more"] = facts.pop("b")
            return "x"

    facts: dict[str, object] = {"a": Changing(), "b": "y"}
    registry.info("i", "h").info(facts)
    assert registry.snapshot()["i_info"]["series"][0]["labels"] == {"a": "x", "b": "y"}


def test_long_texts_are_shown_by_their_beginning(registry: Registry) -> None:
    calls: list[Callable[[], object]] = [
        lambda: registry.enum("e", "h", states=["a"]).state(LONG),
        lambda: registry.gauge("g", "h", multiprocess_mode=LONG),  # type: ignore[arg-type]
        lambda: registry.counter(LONG, None),  # type: ignore[arg-type]
        lambda: registry.counter(LONG, "h", "ab"),
        lambda: Registry(path=[LONG]),  # type: ignore[arg-type]
        lambda: registry.counter("c", "h", ["a"]).labels(**{LONG: "x"}),
    ]
    for call in calls:
        with pytest.raises(DynMetricsError) as caught:
            call()
        assert len(str(caught.value)) < 400


def test_a_directory_that_is_missing(directory: Path) -> None:
    registry = Registry(path=directory / "no" / "segment")
    with pytest.raises(FileNotFoundError, match='metric "c_total".*no directory') as caught:
        registry.counter("c", "h")
    assert isinstance(caught.value, SegmentError) and caught.value.errno == errno.ENOENT
    (directory / "no").mkdir()
    registry.counter("c", "h").inc()


def test_foreign_files_are_refused_and_stay_as_they_are(directory: Path) -> None:
    (directory / "text").write_bytes(b"text" * 100_000)
    (directory / "empty").write_bytes(b"")
    os.mkfifo(directory / "fifo")
    (directory / "link").symlink_to(directory / "text")
    for name in ("text", "empty", "fifo", "link", "."):
        with pytest.raises(SegmentError, match='metric "c_total"'):
            Registry(path=directory / name).counter("c", "h")
    assert (directory / "text").read_bytes() == b"text" * 100_000
    assert (directory / "empty").stat().st_size == 0


def test_a_full_segment(directory: Path) -> None:
    registry = Registry(path=directory / "small", max_bytes=256 << 10)
    counter = registry.counter("c", "h", ["a"])
    kept = counter.labels("first")
    with pytest.raises(SegmentFullError, match='metric "c_total".*no space') as caught:
        for number in range(100_000):
            counter.labels(str(number))
    assert caught.value.errno == errno.ENOSPC
    kept.inc()
    kept.inc(0.5)  # its cell would need space, too: not an exception
    assert registry.snapshot()["c_total"]["series"]
    assert (directory / "small").stat().st_size <= 256 << 10


def test_a_segment_that_may_not_be_written(directory: Path) -> None:
    Registry(path=directory / "segment", mode=0o644).counter("c", "h").inc()
    directory.chmod(0o755)
    program = """
import os, sys
from dyn_metrics import *
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Counter("c", "h", registry=Registry(path=sys.argv[1]))
except PermissionError as error:
    assert isinstance(error, SegmentError) and "c_total" in str(error) and "65534" in str(error), error
    print("refused")
"""
    if os.geteuid() != 0:
        cannot("only root can become another user")
    assert run(program, directory / "segment") == "refused\n"
    assert Registry(path=directory / "segment").counter("c", "h").value() == 1


def test_a_segment_in_use_is_not_replaced_unless_forced(directory: Path) -> None:
    path = directory / "segment"
    Registry(path=path).gauge("g", "h").set(1)
    program = """
import sys
from dyn_metrics import *
try:
    Registry(path=sys.argv[1], fresh=True).open()
except BlockingIOError as error:
    assert isinstance(error, SegmentBusyError), error
    print("busy")
Registry(path=sys.argv[1], fresh=True, force=True).open()
"""
    assert run(program, path) == "busy\n"
    assert "g" not in Registry(path=path).open().snapshot()


def test_a_segment_that_was_removed_can_t_be_read_but_is_made_again(directory: Path) -> None:
    registry = Registry(path=directory / "segment")
    registry.counter("c", "h").inc()
    (directory / "segment").unlink()
    with pytest.raises(FileNotFoundError, match="no readable segment"):
        registry.snapshot()
    registry.counter("c", "h").inc()
    assert registry.snapshot()["c_total"]["series"][0]["value"] == 1
