"""What can be wrong with one planet's files, and what must become of that planet: the table of test_planets.py.

Every damage gets the planet's folder, a copy of one sound planet, so that its answer without the damage is known.
"""

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FGS1, AIRS = "FGS1_signal_0.parquet", "AIRS-CH0_signal_0.parquet"
FGS1_MAPS, AIRS_MAPS = "FGS1_calibration_0", "AIRS-CH0_calibration_0"


@dataclass(frozen=True)
class Case:
    """One damage.

    `outcome`: unharmed (the sound planet's bytes), close (another answer, which agrees with the sound one within their
    errors), weaker (close, with a larger sigma), population (the population's answer).
    """

    name: str
    damage: Callable[[Path], None]
    outcome: str
    event: str = ""  # that names the cause; "": none is due
    reason: str = ""  # a part of its reason
    worker: str = ""  # what happens to the process that computes it, as tests/faulty_work.py knows it


def replaced(path: Path, data: bytes) -> None:
    """Give a file other content; the sound one, which it may be a link to, stays as it is."""
    path.unlink()
    path.write_bytes(data)


def changed(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    def damage(planet: Path) -> None:
        table = change(pl.read_parquet(planet / name))
        (planet / name).unlink()
        table.write_parquet(planet / name)

    return damage


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda planet: replaced(planet / name, change((planet / name).read_bytes()))


def both(one: Callable[[Path], None], other: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(planet: Path) -> None:
        one(planet)
        other(planet)

    return damage


def flipped(data: bytes, *places: float) -> bytes:
    """One bit of the byte at each place (share of the length, or bytes from the end) is turned."""
    out = bytearray(data)
    for place in places:
        out[int(place * len(out)) if place >= 0 else int(place)] ^= 0x10
    return bytes(out)


def at_index(values: np.ndarray, frame: slice, other: slice) -> np.ndarray:
    out = values.copy()
    out[frame] = values[other]
    return out


def frames(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Change the raw frames, (frames, pixels) uint16."""
    return changed(name, lambda t: pl.DataFrame(change(t.to_numpy()), schema=t.columns, orient="row"))


def filled(name: str, value: object, rows: slice = slice(None), cols: slice = slice(None)) -> Callable[[Path], None]:
    """Overwrite a part of a calibration frame."""

    def fill(table: pl.DataFrame) -> pl.DataFrame:
        values = table.to_numpy().copy()
        values[rows, cols] = value
        return pl.DataFrame(values, schema=table.columns, orient="row")

    return changed(name, fill)


def brightest(values: np.ndarray) -> np.ndarray:
    """The star's core of every last read at the converter's end."""
    core = np.argsort(values[1::2].mean(0))[-len(values[0]) // 100 :]
    out = values.copy()
    out[1::2, core] = 65_535
    return out


def in_places(value: int, *places: float) -> Callable[[np.ndarray], np.ndarray]:
    """Single pairs of frames, at shares of the visit, hold nothing but one value."""

    def change(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        for place in places:
            pair = int(place * (len(values) // 2))
            out[2 * pair : 2 * pair + 2] = value
        return out

    return change


def from_to(start: float, stop: float, value: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """All frames from one share of the visit to another hold one value; None: those of the pair before them."""

    def change(values: np.ndarray) -> np.ndarray:
        out, pairs = values.copy(), values.reshape(-1, 2, values.shape[1])
        first, last = (int(share * len(pairs)) for share in (start, stop))
        out.reshape(pairs.shape)[first:last] = pairs[first - 1] if value is None else value
        return out

    return change


def of_both(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return both(frames(FGS1, change), frames(AIRS, change))


def swapped(one: str, other: str) -> Callable[[Path], None]:
    def damage(planet: Path) -> None:
        (planet / one).rename(planet / "aside")
        (planet / other).rename(planet / one)
        (planet / "aside").rename(planet / other)

    return damage


def removed(*names: str) -> Callable[[Path], None]:
    def damage(planet: Path) -> None:
        for name in names:
            shutil.rmtree(planet / name) if (planet / name).is_dir() else (planet / name).unlink()

    return damage


def renumbered(new: int, keep: bool, only: str = "") -> Callable[[Path], None]:
    """Visit 0 as visit `new`, as well or instead."""

    def damage(planet: Path) -> None:
        for path in [path for path in sorted(planet.iterdir()) if only in path.name]:
            target = path.with_name(path.name.replace("_0", f"_{new}"))
            if not keep:
                path.rename(target)
            elif path.is_dir():
                shutil.copytree(path, target)
            else:
                os.link(path, target)

    return damage


def moved_out(name: str) -> Callable[[Path], None]:
    """The file, or the whole planet for "", lies outside of the data root, and a link leads there."""

    def damage(planet: Path) -> None:
        path = planet / name if name else planet
        outside = planet.parents[2] / f"outside-{planet.name}{name}"
        path.rename(outside)
        path.symlink_to(outside)

    return damage


def linked(name: str, target: str) -> Callable[[Path], None]:
    def damage(planet: Path) -> None:
        (planet / name).unlink()
        (planet / name).symlink_to(target)

    return damage


def without_transit(values: np.ndarray) -> np.ndarray:
    """The first pairs, before any ingress, over and over."""
    early = values[: len(values) // 32 * 2]
    return np.tile(early, (len(values) // len(early) + 1, 1))[: len(values)]


def with_index(table: pl.DataFrame) -> pl.DataFrame:
    """As pandas writes a table whose rows have names."""
    return table.with_columns(pl.int_range(pl.len()).alias("__index_level_0__"))


def a_file(planet: Path) -> None:
    shutil.rmtree(planet)
    planet.write_text("not a folder")


def a_folder(planet: Path) -> None:
    (planet / FGS1).unlink()
    (planet / FGS1).mkdir()


def a_pipe(planet: Path) -> None:
    (planet / FGS1).unlink()
    os.mkfifo(planet / FGS1)


def strangers(planet: Path) -> None:
    (planet / "notes.txt").write_text("hello")
    (planet / ".FGS1_signal_1.parquet.x.part").write_bytes(b"PAR1")
    (planet / "FGS1_signal_x.parquet").write_bytes(b"")


def nothing(planet: Path) -> None:
    """The files are sound."""


LEFT_OUT, GONE, MASKED = "instrument_left_out", "planet_left_out", "calibration_masked"

CASES = [
    Case("sound", nothing, "unharmed"),
    # truncated
    Case("signal of 0 bytes", rewritten(FGS1, lambda d: b""), "weaker", LEFT_OUT, FGS1),
    Case("signal cut after its magic number", rewritten(FGS1, lambda d: d[:4]), "weaker", LEFT_OUT, FGS1),
    Case("signal cut at a quarter", rewritten(FGS1, lambda d: d[: len(d) // 4]), "weaker", LEFT_OUT, FGS1),
    Case("signal without its footer", rewritten(FGS1, lambda d: d[:-8]), "weaker", LEFT_OUT, FGS1),
    Case("signal without its last byte", rewritten(FGS1, lambda d: d[:-1]), "weaker", LEFT_OUT, FGS1),
    Case("AIRS signal cut in half", rewritten(AIRS, lambda d: d[: len(d) // 2]), "weaker", LEFT_OUT, AIRS),
    Case(
        "both signals cut in half",
        both(rewritten(FGS1, lambda d: d[: len(d) // 2]), rewritten(AIRS, lambda d: d[: len(d) // 2])),
        *("population", GONE, "signal_0.parquet"),
    ),
    Case("flat cut in half", rewritten(f"{FGS1_MAPS}/flat.parquet", lambda d: d[:500]), "weaker", LEFT_OUT, "flat"),
    # other bytes
    Case("bit of the last magic number", rewritten(FGS1, lambda d: flipped(d, -1)), "weaker", LEFT_OUT, FGS1),
    Case("bits of the footer", rewritten(FGS1, lambda d: flipped(d, -9, -60, -400)), "weaker", LEFT_OUT, FGS1),
    Case("bits of the pages", rewritten(FGS1, lambda d: flipped(d, 0.2, 0.4, 0.6)), "close"),
    Case("zeros in the pages", rewritten(FGS1, lambda d: d[:4] + bytes(9_000) + d[9_004:]), "weaker", LEFT_OUT, FGS1),
    Case("a byte too many", rewritten(FGS1, lambda d: d[:9_000] + b"x" + d[9_000:]), "weaker", LEFT_OUT, FGS1),
    Case(
        "footer that claims 2 GB",
        rewritten(FGS1, lambda d: d[:-8] + b"\xff\xff\xff\x7fPAR1"),
        *("weaker", LEFT_OUT, FGS1),
    ),
    Case("text in place of a table", rewritten(FGS1, lambda d: b"planet_id,Rs\n1,2\n" * 99), "weaker", LEFT_OUT, FGS1),
    # other types
    Case("signal in float32", changed(FGS1, lambda t: t.cast(pl.Float32)), "weaker", LEFT_OUT, "Float32, not UInt16"),
    Case("signal in int32", changed(FGS1, lambda t: t.cast(pl.Int32)), "weaker", LEFT_OUT, "Int32, not UInt16"),
    Case("signal as text", changed(FGS1, lambda t: t[:8].cast(pl.String)), "weaker", LEFT_OUT, "String, not UInt16"),
    Case(
        "dark as text",
        changed(f"{FGS1_MAPS}/dark.parquet", lambda t: t.cast(pl.String)),
        *("weaker", LEFT_OUT, "not numeric"),
    ),
    Case(
        "dead in float64",
        changed(f"{FGS1_MAPS}/dead.parquet", lambda t: t.cast(pl.Float64)),
        *("weaker", LEFT_OUT, "not Boolean"),
    ),
    # other shapes
    Case("a frame lost", changed(FGS1, lambda t: t[1:]), "weaker", LEFT_OUT, "odd number"),
    Case("a pair lost", changed(FGS1, lambda t: t[2:]), "weaker", LEFT_OUT, "axis_info.parquet announces"),
    Case("a pair twice", changed(FGS1, lambda t: pl.concat([t[:2], t])), "weaker", LEFT_OUT, "axis_info.parquet"),
    Case("a pair in place of the next", frames(FGS1, lambda v: at_index(v, slice(8, 10), slice(6, 8))), "close"),
    Case("no frame", changed(FGS1, lambda t: t[:0]), "weaker", LEFT_OUT, "0 frames"),
    Case("a column lost", changed(FGS1, lambda t: t[:, 1:]), "weaker", LEFT_OUT, "1023 columns, not 1024"),
    Case(
        "a column too many",
        changed(FGS1, lambda t: t.with_columns(t.to_series(0).alias("more"))),
        *("weaker", LEFT_OUT, "1025 columns, not 1024"),
    ),
    Case("an index of pandas", changed(FGS1, with_index), "unharmed"),
    Case("a map with an index of pandas", changed(f"{FGS1_MAPS}/flat.parquet", with_index), "unharmed"),
    Case("columns sorted as text", changed(FGS1, lambda t: t.select(sorted(t.columns))), "unharmed"),
    Case(
        "a map sorted as text", changed(f"{AIRS_MAPS}/flat.parquet", lambda t: t.select(sorted(t.columns))), "unharmed"
    ),
    Case(
        "a column of another number",
        changed(FGS1, lambda t: t.rename({"column_7": "column_2000"})),
        *("weaker", LEFT_OUT, "not numbered from 0 to 1023"),
    ),
    Case(
        "an error page in place of a table",
        rewritten(FGS1, lambda d: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
        *("weaker", LEFT_OUT, "is a web page"),
    ),
    Case("compressed once more", rewritten(FGS1, gzip.compress), "weaker", LEFT_OUT, "compressed with gzip"),
    Case("a value missing", changed(FGS1, lambda t: t.shift(1)), "weaker", LEFT_OUT, "missing values"),
    Case("a row of dark lost", changed(f"{FGS1_MAPS}/dark.parquet", lambda t: t[1:]), "weaker", LEFT_OUT, "(31, 32)"),
    Case(
        "five coefficients",
        changed(f"{FGS1_MAPS}/linear_corr.parquet", lambda t: t[:160]),
        *("weaker", LEFT_OUT, "linear_corr"),
    ),
    # calibration frames with impossible values
    Case("dark of NaN", filled(f"{FGS1_MAPS}/dark.parquet", np.nan), "weaker", LEFT_OUT, "dark.parquet"),
    Case("negative flat", filled(f"{FGS1_MAPS}/flat.parquet", -1.0), "weaker", LEFT_OUT, "flat.parquet"),
    Case("read noise of inf", filled(f"{FGS1_MAPS}/read.parquet", np.inf), "weaker", LEFT_OUT, "read.parquet"),
    Case("linearity of 0", filled(f"{FGS1_MAPS}/linear_corr.parquet", 0.0), "weaker", LEFT_OUT, "linear_corr.parquet"),
    Case("all dead", filled(f"{FGS1_MAPS}/dead.parquet", True), "weaker", LEFT_OUT, "of the pixels are dead"),
    Case(
        "flat of AIRS and of FGS1 of NaN",
        both(filled(f"{FGS1_MAPS}/flat.parquet", np.nan), filled(f"{AIRS_MAPS}/flat.parquet", np.nan)),
        *("population", GONE, "flat.parquet"),
    ),
    Case(
        "one dark pixel of inf",
        filled(f"{FGS1_MAPS}/dark.parquet", np.inf, slice(15, 16), slice(15, 16)),
        *("close", MASKED, "row 15, column 15"),
    ),
    # what is left of its light follows the star's place, and is set right: more scatter than noise explains stays
    Case(
        "a dead row in the star",
        filled(f"{AIRS_MAPS}/dead.parquet", True, slice(15, 16)),
        *("weaker", "misfit", "variance that their noise explains"),
    ),
    Case("a dead column", filled(f"{AIRS_MAPS}/dead.parquet", True, slice(None), slice(100, 101)), "close"),
    # light
    Case("saturated star", frames(AIRS, brightest), "close", "saturated", AIRS),
    Case("single frames at full scale", of_both(in_places(65_535, 0.0, 0.2, 0.41, 0.63, 0.9)), "close"),
    Case("single frames of zeros", of_both(in_places(0, 0.1, 0.3, 0.52, 0.77)), "close"),
    Case("dark for a while", of_both(from_to(0.3, 0.35, 437)), "close"),
    Case("the same frames for a while", of_both(from_to(0.6, 0.65, None)), "close"),
    Case("closed shutter", frames(FGS1, lambda v: np.full_like(v, 437)), "weaker", LEFT_OUT, FGS1),
    Case("last read before the first", frames(FGS1, lambda v: v[::-1]), "weaker", LEFT_OUT, FGS1),
    Case("instruments exchanged", swapped(FGS1, AIRS), "population", GONE, "columns, not"),
    Case("calibrations exchanged", swapped(FGS1_MAPS, AIRS_MAPS), "population", GONE, "shape"),
    Case(
        "no transit in the visit",
        both(frames(FGS1, without_transit), frames(AIRS, without_transit)),
        *("population", "fallback", "no transit in the visit"),
    ),
    # visits
    Case("no visit", removed(FGS1, AIRS, FGS1_MAPS, AIRS_MAPS), "population", GONE, "no visit"),
    Case("no AIRS", removed(AIRS, AIRS_MAPS), "weaker", LEFT_OUT, AIRS_MAPS),
    Case("no calibration", removed(FGS1_MAPS, AIRS_MAPS), "population", GONE, "calibration folder is missing"),
    Case(
        "no flat of either",
        removed(f"{FGS1_MAPS}/flat.parquet", f"{AIRS_MAPS}/flat.parquet"),
        *("population", GONE, "flat.parquet: file is missing"),
    ),
    Case("an extra visit", renumbered(1, keep=True), "close"),
    Case(
        "an extra visit without AIRS",
        both(renumbered(1, keep=True), removed("AIRS-CH0_signal_1.parquet")),
        *("close", LEFT_OUT, "AIRS-CH0_signal_1.parquet"),
    ),
    Case("an extra visit without frames", renumbered(1, True, "calibration"), "unharmed", LEFT_OUT, "signal_1.parquet"),
    Case("the visit has another number", renumbered(7, keep=False), "unharmed"),
    Case("files of strangers", strangers, "unharmed"),
    # folders and links
    Case("no folder", shutil.rmtree, "population", GONE, "no such planet folder"),
    Case("a file in place of the folder", a_file, "population", GONE, "no such planet folder"),
    Case("a folder in place of the signal", a_folder, "weaker", LEFT_OUT, "file is missing"),
    Case("a pipe in place of the signal", a_pipe, "weaker", LEFT_OUT, "file is missing"),
    Case("the folder is a link out of the root", moved_out(""), "unharmed"),
    Case("the signal is a link out of the root", moved_out(FGS1), "unharmed"),
    Case("the signal is a link to nothing", linked(FGS1, "nowhere"), "weaker", LEFT_OUT, "file is missing"),
    Case("the signal is a link to itself", linked(FGS1, FGS1), "weaker", LEFT_OUT, "file is missing"),
    # the process that computes it
    Case("its process is killed", nothing, "population", "fallback", "status -9", "killed"),
    Case("its process is killed once", nothing, "unharmed", "retry", "status -9", "killed once"),
    Case("out of memory", nothing, "population", "fallback", "MemoryError", "memory"),
    # its row of test_star_info.csv, which `STAR_ROWS` damages
    Case("no stellar radius", nothing, "population", "fallback", "column Rs: not a finite number"),
    Case("a negative orbit", nothing, "population", "fallback", "column sma: -3.0 is not positive"),
    Case("a temperature in words", nothing, "population", "fallback", "column Ts: 'hot' is not a number"),
    Case("an integer id", nothing, "unharmed"),
    Case("a cell too many", nothing, "population", "fallback", "10 cells, the header 9"),
    Case("a comma at the end", nothing, "unharmed"),
    Case("a decimal comma", nothing, "population", "fallback", "column i: '89,5' is not a number, but has a decimal"),
    Case(
        "a period in hours", nothing, "population", "fallback", "column P: 96 lies outside of 0.5 to 40 days; is it in"
    ),
    Case("a period in seconds", nothing, "population", "fallback", "is it in seconds?"),
    Case("an orbit in AU", nothing, "population", "fallback", "stellar radii; is it in AU?"),
    Case("an orbit off Kepler's law", nothing, "population", "fallback", "Kepler's third law gives"),
    Case("a temperature in kilokelvin", nothing, "population", "fallback", "is it in kilokelvin?"),
    Case("a temperature too high", nothing, "population", "fallback", "column Ts: 100000 lies outside of"),
    Case("an inclination in radians", nothing, "population", "fallback", "is it in radians?"),
    Case("a radius in km", nothing, "population", "fallback", "is it in km?"),
    Case("an eccentricity", nothing, "unharmed", "row_doubtful", "column e: 0.3 is not used"),
]
STAR_ROWS = {
    "no stellar radius": ("Rs", ""),
    "a negative orbit": ("sma", "-3.0"),
    "a temperature in words": ("Ts", "hot"),
    "a cell too many": ("i", "89.5,1.0"),
    "a comma at the end": ("i", "{},"),
    "a decimal comma": ("i", '"89,5"'),
    "a period in hours": ("P", "96.0"),
    "a period in seconds": ("P", "345600"),
    "an orbit in AU": ("sma", "0.05"),
    "an orbit off Kepler's law": ("sma", "95.0"),
    "a temperature in kilokelvin": ("Ts", "5.8"),
    "a temperature too high": ("Ts", "1e5"),
    "an inclination in radians": ("i", "1.55"),
    "a radius in km": ("Rs", "695700"),
    "an eccentricity": ("e", "0.3"),
}
