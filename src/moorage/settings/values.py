"""The kinds of value that settings are made of, and the marks that say how a setting is treated.

A configuration file and the environment both give text; what a text means is decided here, by the setting it
is given for.  So `secret: 0123` is the text it looks like and never an octal number.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema


class Text(str):
    """A scalar of a YAML document: what was written, and in `resolved` what YAML itself takes it for."""

    __slots__ = ("resolved",)

    resolved: Any

    def __new__(cls, written: str, resolved: Any) -> Self:
        self = super().__new__(cls, written)
        self.resolved = resolved
        return self


def plain(value: Any) -> Any:
    """A tree of `Text` as YAML itself would have read it: for sections whose keys we do not know."""
    if isinstance(value, Text):
        return value.resolved
    if isinstance(value, dict):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value


@dataclass(frozen=True, slots=True)
class Ignored:
    """Marks a setting of Docker Registry that is accepted, reported and not acted on; says why."""

    why: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """Marks a secret: it is never shown and never named in a fault."""


class Section(BaseModel):
    """A part of the settings: a value that cannot be changed and knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    choices: ClassVar[tuple[str, ...]] = ()
    """Keys of which one is chosen by naming it in place of the section, as in `REGISTRY_STORAGE=inmemory`."""

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        fields = type(self).model_fields
        return [
            (name, "***" if value and name and is_hidden(fields[name].metadata) else value)
            for name, value in super().__repr_args__()
        ]


def is_hidden(metadata: list[Any]) -> bool:
    return any(isinstance(mark, Hidden) for mark in metadata)


_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d)")
_DURATION_PART: Final = re.compile(r"([0-9.]+)([^0-9.]+)")


def parse_duration(value: Any) -> timedelta:
    """A duration as Go writes it, `1h30m`, `168h`, `500ms`, and in days, `7d`.  Raises ValueError.

    A bare number is refused, because Docker Registry takes it for nanoseconds and everybody else for seconds.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    if text in {"0", "0.0"}:
        return timedelta()
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        hint = f"; did you mean '{text}s'?" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else ""
        raise ValueError(f"must be a duration such as '30s', '1h30m' or '7d', not '{text}'{hint}")
    try:
        return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text)))
    except OverflowError:
        raise ValueError(f"is too long a duration: '{text}'") from None


def format_duration(value: timedelta) -> str:
    """The shortest Go duration: `168h`, `1h30m`, `0s`."""
    micros = round(value.total_seconds() * 1_000_000)
    if micros == 0:
        return "0s"
    parts = []
    for unit, size in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)):
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_seconds(value: Any) -> float:
    """Seconds as a number, or any duration.  Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    return parse_duration(text).total_seconds()


_SIZES: Final[dict[str, int]] = {"": 1, "B": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("KMGTP", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}


def parse_size(value: Any) -> int:
    """Bytes as a whole number, or with a unit: `64MiB`, `1.5 GB`.  Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text)
    unit = match[2].replace("k", "K") if match else ""
    if not match or unit not in _SIZES:
        raise ValueError(f"must be a size in bytes such as 4194304, '64MiB' or '1.5GB', not '{text}'")
    return round(float(match[1]) * _SIZES[unit])


def parse_share(value: Any) -> float:
    """A part of a whole, from 0 to 1: `0.05`, `5%`, and `off` for all of it.  Raises ValueError."""
    text = str(value).strip().lower()
    if text in {"off", "false"}:
        return 1.0
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)", text)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"must be a share such as '5%' or 0.05, or 'off', not '{text}'")
    return share


def parse_rate(value: Any) -> str:
    """How often in what time, as `limits` writes it: `600/minute`, `100 per 6 hours`.  Raises ValueError."""
    import limits

    text = str(value).strip()
    try:
        (found,) = limits.parse_many(text)
    except ValueError:
        found = None
    if found is None or found.amount < 1 or found.get_expiry() < 1:
        raise ValueError(f"must be one rate such as '600/minute' or '100 per 6 hours', not '{text}'")
    return text


def parse_workers(value: Any) -> int | Literal["auto"]:
    """How many processes: a whole number from 1, or `auto`.  Raises ValueError."""
    text = str(value).strip().lower()
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,3}", text) or not int(text):
        raise ValueError(f"must be a number from 1 to 999, or 'auto', not '{value}'")
    return int(text)


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0s")
    return value


def _listed(value: Any) -> Any:
    """One value where a list is expected is a list of one."""
    return [value] if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "1h30m", "168h", "7d"]}),
]
Positive = Annotated[Duration, AfterValidator(_positive)]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds), WithJsonSchema({"type": ["number", "string"], "examples": [60, "1m30s"]})
]
Size = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["integer", "string"], "examples": [4194304, "64MiB"]})
]
Share = Annotated[
    float, BeforeValidator(parse_share), WithJsonSchema({"type": ["number", "string"], "examples": ["5%", 0.05, "off"]})
]
Rate = Annotated[
    str,
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "examples": ["600/minute", "100 per 6 hours"]}),
]
Workers = Annotated[
    int | Literal["auto"],
    BeforeValidator(parse_workers),
    WithJsonSchema({"type": ["integer", "string"], "examples": [1, 4, "auto"]}),
]
Secret = Annotated[str | None, Hidden()]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Free = Annotated[dict[str, Any], BeforeValidator(plain)]
Unread = Annotated[Any, BeforeValidator(plain)]
lowercase: Final = BeforeValidator(_lower)
