"""The competition's CSV tables: catalogue of systems, true spectra, converter.

Every refusal is a `FrameError` that names file, row, column and remedy. How the text is read: `csvtable`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import ADC_GAIN, ADC_OFFSET_E, INSTRUMENTS, N_BINS
from ..base.products import Array, Catalogue, Spectra
from .csvtable import CsvTable, FrameError, read_csv

PLANET_ID = re.compile(r"([0-9]{1,18})(\.0*)?")  # `1103775` or `1103775.0`, read as text: above 2^53 no digit is lost
MAX_DEPTH = 0.3  # of a true spectrum; real ones are below 0.08, and one in percent is above 0.37


@dataclass(frozen=True)
class _Quantity:
    """What a column of the catalogue may hold, and factors of units in which tables of other origin give it."""

    low: float
    high: float
    unit: str
    others: dict[str, float]  # unit -> the same value in that unit over the value in ours


# The 1,100 real systems hold Rs 0.65-2.9, Ms 0.60-1.8, Ts 4236-6979, Mp 0.05-25, P 2.8-7.6, sma 4.2-21, i 85.6-90. The
# ranges leave them a factor of 2 to 6 for other surveys (Ts 1.4) and end before the same systems in another unit begin:
# 67 hours, 0.036 AU, 6.5 Jupiter radii, 628 Jupiter masses, 4.2 kK, 1.5 radians.
_CATALOGUE = {
    "Rs": _Quantity(
        0.1, 6.0, "solar radii", {"Jupiter radii": 9.95, "Earth radii": 109.1, "km": 6.957e5, "m": 6.957e8}
    ),
    "Ms": _Quantity(0.1, 6.0, "solar masses", {"Jupiter masses": 1047.6, "Earth masses": 3.33e5, "kg": 1.988e30}),
    "Ts": _Quantity(3000.0, 10_000.0, "kelvin", {"kilokelvin": 1e-3}),
    "Mp": _Quantity(0.0, 80.0, "Jupiter masses", {"Earth masses": 317.8, "kg": 1.898e27}),
    "P": _Quantity(0.5, 40.0, "days", {"hours": 24.0, "minutes": 1440.0, "seconds": 86_400.0, "years": 1 / 365.25}),
    "sma": _Quantity(1.5, 100.0, "stellar radii", {"AU": 0.00465, "km": 6.957e5, "m": 6.957e8}),
    "i": _Quantity(60.0, 120.0, "degrees", {"radians": np.pi / 180}),
}
_KEPLER = 4.2083  # a/Rs of a planet with a period of one day around the Sun
# sma off Kepler's third law by these factors: real systems are by less than 1.34; the fit endures P or sma that are
# wrong by 2.5 on top of that; beyond lies another unit
_DOUBT, _OFF = 1.5, 4.0
_FAR_IMPACT = 2.0  # of real systems below 1.13


@dataclass(frozen=True)
class Adc:
    """Analogue-to-digital converter: electrons = ADU / gain + offset."""

    gain: float = ADC_GAIN  # ADU per electron
    offset_e: float = ADC_OFFSET_E  # electrons


@dataclass(frozen=True)
class Converters:
    """The converter of each instrument, by its name: one for all planets, or a planet's own."""

    path: Path
    common: dict[str, Adc]  # empty where each planet has a row
    own: dict[int, dict[str, Adc]]
    damaged: dict[int, str]  # planet -> why its row cannot be used

    def of(self, planet_id: int) -> dict[str, Adc]:
        """A planet's converters. Raises FrameError where its row is missing or cannot be used."""
        if self.common:
            return self.common
        if planet_id in self.own:
            return self.own[planet_id]
        if planet_id in self.damaged:
            raise FrameError.of_text(self.damaged[planet_id])
        raise FrameError(self.path, f"has a row a planet, and none for planet {planet_id}", "Add the row.")


def _planet_ids(table: CsvTable) -> NDArray[np.int64]:
    ids: list[int] = []
    first: dict[int, int] = {}
    for row, text in enumerate(table.column("planet_id")):
        match = PLANET_ID.fullmatch(text)
        if match is None:
            number = re.fullmatch(r"-?[0-9]+\.[0-9]+", text)
            what = f"{text} is not an id" if number else f"{text!r} is not a number" if text else "not a finite number"
            raise table.error(row, f"column planet_id: {what}", "Ids are integers (1234 or 1234.0).")
        planet = int(match[1])
        if planet in first:
            raise table.error(row, f"column planet_id: {planet} occurs twice", "Remove the duplicate row.")
        first[planet] = row
        ids.append(planet)
    return np.array(ids, np.int64)


def read_catalogue(
    path: Path, damaged: dict[int, str] | None = None, doubtful: dict[int, str] | None = None
) -> Catalogue:
    """Read `{train,test}_star_info.csv`. Ids may be written as floats (`1103775.0`). Raises FrameError.

    Args:
        path: of the table.
        damaged: planets whose row holds an impossible value, or one in another unit, are left out, and their reasons
            are put into it; None: such a row is an error.
        doubtful: planets whose values contradict each other or the kit's assumptions, and why, are put into it.
    """
    table = read_csv(path)
    values, faults = table.numbers(list(_CATALOGUE))
    ids = _planet_ids(table)
    for row in np.setdiff1d(np.arange(len(ids)), list(faults)).tolist():
        if fault := _implausible(values[row]):
            faults[row] = fault
    sound = _sound(table, ids, faults, damaged)
    catalogue = Catalogue(ids[sound], *values[sound].T.copy())
    if doubtful is not None:
        doubtful |= _contradictions(table, catalogue, np.flatnonzero(sound))
    return catalogue


def _sound(
    table: CsvTable, ids: NDArray[np.int64], faults: dict[int, str], damaged: dict[int, str] | None
) -> NDArray[np.bool_]:
    """Which rows can be used; the others go into `damaged`, or are an error where there is none."""
    for row in sorted(faults):
        error = table.error(row, faults[row])
        if damaged is None:
            raise error
        damaged[int(ids[row])] = str(error)
    return ~np.isin(np.arange(len(ids)), list(faults))


def _implausible(row: Array) -> str:
    """What no system of the catalogue can have, in words; "" where all values are possible."""
    for (name, quantity), value in zip(_CATALOGUE.items(), row.tolist(), strict=True):
        if value < 0 or (value == 0 and quantity.low > 0):
            return f"column {name}: {value} is not positive"
        if not quantity.low <= value <= quantity.high:
            possible = [unit for unit, factor in quantity.others.items() if _inside(value / factor, quantity)]
            hint = f"; is it in {possible[0]}?" if possible else ""
            limits = f"{quantity.low:g} to {quantity.high:g} {quantity.unit}"
            return f"column {name}: {value:g} lies outside of {limits}{hint}"
    ratio, text = _kepler(*(float(row[list(_CATALOGUE).index(name)]) for name in ("Rs", "Ms", "P", "sma")))
    return "" if 1 / _OFF < ratio < _OFF else text


def _inside(value: float, quantity: _Quantity) -> bool:
    return quantity.low <= value <= quantity.high


def _kepler(radius: float, mass: float, period: float, sma: float) -> tuple[float, str]:
    """sma over that of Kepler's third law, and both in words."""
    expected = _KEPLER * (period**2 * mass) ** (1 / 3) / radius
    law = f"Kepler's third law gives {expected:.3g} for P {period:.3g}, Ms {mass:.3g}, Rs {radius:.3g}"
    return sma / expected, f"column sma: {sma:.3g} where {law}"


def _contradictions(table: CsvTable, catalogue: Catalogue, rows: NDArray[np.intp]) -> dict[int, str]:
    """Planets whose values can be used and do not agree with each other or with the fit's assumptions, and why."""
    eccentricity = _eccentricities(table)[rows]
    found = {}
    for k, planet in enumerate(catalogue.planet_id.tolist()):
        radius, mass, _, _, period, sma, inclination = (
            float(getattr(catalogue, name)[k]) for name in list(Catalogue.__dataclass_fields__)[1:]
        )
        ratio, text = _kepler(radius, mass, period, sma)
        impact = sma * abs(np.cos(np.radians(inclination)))
        reasons = [] if 1 / _DOUBT < ratio < _DOUBT else [text]
        if impact > _FAR_IMPACT:
            reasons.append(f"columns sma and i: an impact parameter of {impact:.3g} leads past the star")
        if eccentricity[k] != 0:
            reasons.append(f"column e: {eccentricity[k]:g} is not used, orbits are fitted as circles")
        if reasons:
            found[planet] = str(table.error(int(rows[k]), "; ".join(reasons), "The row is used as it is."))
    return found


def _eccentricities(table: CsvTable) -> Array:
    """Column e, (n,); 0 where there is none, NaN where it is no number."""
    if "e" not in table.names:
        return np.zeros(len(table.rows))
    return table.numbers(["e"])[0][:, 0]


def read_spectra_csv(path: Path, damaged: dict[int, str] | None = None) -> Spectra:
    """Read `train.csv`: planet_id, wl_1..wl_283 as depths (P, 283). Raises FrameError.

    With `damaged`, planets whose row cannot be used are left out, and their reasons are put into it.
    """
    table = read_csv(path)
    names = [f"wl_{i}" for i in range(1, N_BINS + 1)]
    values, faults = table.numbers(["planet_id", *names])
    ids, depth = _planet_ids(table), values[:, 1:]
    with np.errstate(invalid="ignore"):
        outside = (depth < 0) | (depth > MAX_DEPTH)
    for row, bin_ in np.argwhere(outside)[::-1].tolist():  # the first one of a row is the last to be put down
        value = f"{depth[row, bin_]:g} is no transit depth: (Rp/Rs)^2 is a number from 0 to {MAX_DEPTH:g}"
        faults[row] = f"column {names[bin_]}: {value}, not in percent or ppm"
    sound = _sound(table, ids, faults, damaged)
    return Spectra(ids[sound], depth[sound])


def read_adc_info(root: Path) -> Converters:
    """Read `adc_info.csv`: the converter of each instrument; one row for all, or a row a planet as in 2024.

    Raises FrameError: without a usable row, or with several that differ and say not which planets they are of.
    """
    path = Path(root) / "adc_info.csv"
    table = read_csv(path)
    names = [f"{instrument.name}_adc_{what}" for instrument in INSTRUMENTS for what in ("gain", "offset")]
    values, faults = table.numbers(names)
    if not len(values):
        raise FrameError(path, "has no row", "Download the file again.")
    for row, numbers in enumerate(values.tolist()):
        for name, gain in zip(names[::2], numbers[::2], strict=True):
            if row not in faults and not gain > 0:
                faults[row] = f"column {name}: gain {gain} is not positive"
    if "planet_id" in table.names and len(values) > 1:
        damaged: dict[int, str] = {}
        ids = _planet_ids(table)
        sound = np.flatnonzero(_sound(table, ids, faults, damaged))
        if not len(sound):
            raise FrameError.of_text(next(iter(damaged.values())))
        return Converters(path, {}, {int(ids[row]): _converters(values[row]) for row in sound.tolist()}, damaged)
    _sound(table, np.arange(len(values)), faults, None)
    if len(differing := np.flatnonzero((values != values[0]).any(axis=1))):
        problem = f"row {differing[0] + 1} differs from row 1, and no column planet_id says whose they are"
        raise FrameError(path, problem, "Give one row for all planets, or a column planet_id.")
    return Converters(path, _converters(values[0]), {}, {})


def _converters(row: Array) -> dict[str, Adc]:
    pairs = row.reshape(-1, 2).tolist()
    return {one.name: Adc(*pair) for one, pair in zip(INSTRUMENTS, pairs, strict=True)}


def read_wavelengths(path: Path) -> Array:
    """Wavelengths of the bins, (283,) um, ascending, of a `wavelengths.csv`. Raises FrameError naming the file."""
    table = read_csv(path)
    remedy = "Copy it from the competition's data."
    names = [f"wl_{i}" for i in range(1, N_BINS + 1)]
    if len(table.rows) != 1 or not set(names) <= set(table.names):
        found = f"{len(table.rows)} x {len(table.names)}"
        raise FrameError(path, f"expected one row of wl_1 to wl_{N_BINS}, found {found}", remedy)
    values, faults = table.numbers(names)
    if faults:
        raise table.error(0, faults[0], remedy)
    if not (np.diff(values[0]) > 0).all():
        raise FrameError(path, "wavelengths do not ascend", remedy)
    if not (values[0, 0] > 0.1 and values[0, -1] < 30):
        raise FrameError(path, f"{values[0, 0]:g} to {values[0, -1]:g} are no wavelengths in um", remedy)
    return values[0]
