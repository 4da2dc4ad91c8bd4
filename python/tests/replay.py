"""Replays tests/data/conformance/script.txt with dyn_metrics: ``replay.py SCRIPT SEGMENT``; the README there says what that is.

``replay.py SCRIPT kind:prometheus`` does it over a registry that is no segment. Only a segment can say
that something is not there, so the steps that end so are left out; and a registry of the kind ``null`` reads 0.

What Python says in another way: a counter's name gets its ``_total`` and an Info's its ``_info`` here; constant labels are those of a
child registry; every refusal is a ValueError (``conflict`` apart); what is there is found in a snapshot; an observation
that happened N times is N observations. ``not_in_python.txt`` beside the script has the steps that are left out.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Callable

from dyn_metrics import ConflictError, DynMetricsError, Enum, Info, Registry

KINDS = {
    "counter": "int_counter",
    "float_counter": "counter",
    "duration_counter": "duration_counter",
    "tally": "summary",
    "gauge": "int_gauge",
    "float_gauge": "gauge",
    "duration_gauge": "duration_gauge",
    "histogram": "histogram",
    "info": "info",
    "state_set": "enum",
}
#: Options whose value is one number.
NUMBERS = ("level", "max_series", "keep_dead", "shared")

registries: dict[str, Registry] = {}
metrics: dict[str, tuple[str, Any]] = {}
#: Of a family: its type, what makes its series, where to find them.
families: dict[str, tuple[str, Any, Registry, dict[str, str]]] = {}


class NotFound(Exception):
    """What was asked for is not there."""


class Differs(Exception):
    """A handle reads something else."""


def options(fields: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments for a constructor, and constant labels."""
    made: dict[str, Any] = {"documentation": ""}
    constant: dict[str, str] = {}
    for field in fields:
        key, _, text = field.partition("=")
        if key == "label":
            name, _, value = text.partition("=")
            constant[name] = value
        elif key == "by":
            made.setdefault("labelnames", []).append(text)
        elif key == "state":
            made.setdefault("states", []).append(text)
        elif key == "bounds":
            made["buckets"] = [float(bound) for bound in text.split(",") if bound]
        elif key in NUMBERS:
            made[key] = bool(int(text)) if key == "shared" else int(text)
        else:
            made[{"help": "documentation", "mode": "multiprocess_mode"}.get(key, key)] = text
    return made, constant


def make(kind: str, registry: Registry, name: str, arguments: dict[str, Any], constant: dict[str, str]) -> Any:
    if kind == "info":
        return registry.info(name.removesuffix("_info"), **arguments)
    registry = registry.child("", constant) if constant else registry
    return getattr(registry, KINDS[kind])(name, **arguments)


def register(handle: str, registry: str, kind: str, name: str, *rest: str) -> None:
    arguments, constant = options(list(rest))
    metric = make(kind, registries[registry], name, arguments, constant)
    if isinstance(metric, Info):
        metric.info(constant)
    metrics[handle] = kind, metric


def family(handle: str, registry: str, kind: str, name: str, *rest: str) -> None:
    arguments, constant = options(list(rest))
    families[handle] = kind, make(kind, registries[registry], name, arguments, constant), registries[registry], constant


def with_(handle: str, of: str, *values: str) -> None:
    kind, made, _, _ = families[of]
    series = made.labels(*values) if values else made
    if isinstance(series, Info):
        series.info({})
    metrics[handle] = kind, series


def find(handle: str, of: str, *values: str) -> None:
    kind, made, registry, constant = families[of]
    if registry.kind != "shm":
        return with_(handle, of, *values)
    labels = {**constant, **dict(zip(made.labelnames, values))}
    name = made.name if made.name in registry.snapshot() else made.name + "_total"
    if len(values) != len(made.labelnames) or all(one["labels"] != labels for one in registry.snapshot()[name]["series"]):
        raise NotFound
    metrics[handle] = kind, made.labels(*values)


def child(handle: str, registry: str, prefix: str, *rest: str) -> None:
    registries[handle] = registries[registry].child(prefix, options(list(rest))[1])


def number(kind: str, text: str) -> float:
    """A number as the methods of that type take it."""
    if kind.startswith("duration"):
        return int(text) / 1e9
    return int(text) if kind in ("counter", "gauge") else float(text)


def add(handle: str, text: str) -> None:
    kind, metric = metrics[handle]
    metric.inc(number(kind, text))


def set_(handle: str, text: str) -> None:
    kind, metric = metrics[handle]
    if isinstance(metric, Enum):
        if text not in metric.states:
            try:
                metric.state(text)
            except ValueError:
                raise NotFound from None
        metric.state(text)
    else:
        metric.set(number(kind, text))


def observe(handle: str, text: str, times: str = "1") -> None:
    for _ in range(int(times)):
        metrics[handle][1].observe(float(text))


def reads(found: float, expected: float) -> None:
    if not (found == expected or math.isnan(found) and math.isnan(expected)):
        raise Differs(f"reads {found}")


def value(handle: str, text: str) -> None:
    kind, metric = metrics[handle]
    reads(metric.value(), number(kind, text))


def is_(handle: str, state: str, on: str) -> None:
    reads(metrics[handle][1].value() == state, on == "1")


VERBS: dict[str, Callable[..., None]] = {
    "child": child,
    "register": register,
    "family": family,
    "with": with_,
    "find": find,
    "inc": lambda handle: metrics[handle][1].inc(),
    "add": add,
    "set": set_,
    "observe": observe,
    "observe_n": observe,
    "value": value,
    "count": lambda handle, text: reads(metrics[handle][1].count(), int(text)),
    "sum": lambda handle, text: reads(metrics[handle][1].sum(), float(text)),
    "is": is_,
}
#: How a step ends that a ValueError ends.
REFUSED = ("name", "labels", "bounds", "option")


def unescaped(field: str) -> str:
    pieces = field.split("\\\\")
    return "\\".join(piece.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for piece in pieces)


def step(expected: str, verb: str, fields: list[str]) -> str:
    """How it ended."""
    try:
        VERBS[verb](*fields)
    except NotFound:
        return "not_found"
    except ConflictError:
        return "conflict"
    except DynMetricsError as error:
        return expected if isinstance(error, ValueError) and expected in REFUSED else repr(error)
    return "ok"


def main() -> int:
    script, segment = sys.argv[1:]
    kind = segment.removeprefix("kind:")
    registries["root"] = Registry(path=segment) if kind == segment else Registry.of_kind(kind)
    reading = ("value", "count", "sum", "is") if kind == "null" else ()
    with open(script, encoding="utf-8", newline="\n") as lines:
        for at, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            expected, verb, *fields = map(unescaped, line.split("\t"))
            if verb in reading or (kind != segment and expected == "not_found"):
                continue
            try:
                found = step(expected, verb, fields)
            except Exception as error:
                found = repr(error)
            if found != expected:
                print(f"line {at}: found {found}: {line}", file=sys.stderr)
                return 1
    sys.stdout.write(registries["root"].generate_latest().decode() + "# EOF\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
