"""Light curves of planets: all visits of one, its product file, a whole split in parallel processes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ..base.execution import in_processes
from ..base.instruments import AIRS, FGS1, INSTRUMENTS, Instrument
from ..base.products import LightCurve, MeanFrame, PlanetLightCurves
from ..base.provenance import EventLog, sha256_file, sha256_json, write_atomic
from ..base.schema import LightCurveConfig
from ..base.version import __version__
from .axes import AxisInfo, read_axis_info
from .calibrate import calibration_maps
from .csvtable import FrameError
from .extraction import extract, needed_pixels
from .frames import list_visits, read_calibration, read_signal
from .neighbour import Neighbour
from .tables import Adc, Converters, read_adc_info, read_catalogue

STAGE = "calibrate"
SATURATED_NOTE = 0.01  # of the star's pixels: from here on the event log hears of it
UNRESOLVED_PX = 3.0  # rows: AIRS hardly tells a nearer neighbour from the star
COLOUR_SD = 0.1  # of a neighbour's light in AIRS, where FGS1 tells it
MOST_DILUTED = 0.08  # relative error of AIRS' depths by a neighbour, from which on FGS1 alone tells more
_FORMAT = "kitlib-lightcurves-4"
_FIELDS = ("time_h", "flux_e", "variance_e2", "pairs", "centroid_px")
_FRAME_FIELDS = ("flux_e", "weights")
_SAMPLE_BLOCKS, _SAMPLE_BYTES = 64, 4096


def planet_lightcurves(
    planet_dir: Path, axis: AxisInfo, adc: dict[str, Adc], config: LightCurveConfig, events: EventLog
) -> PlanetLightCurves:
    """All visits of one planet. What cannot be used is left out and logged with its reason.

    Raises FrameError where nothing is left.
    """
    planet_dir = Path(planet_dir)
    if not planet_dir.is_dir() or not planet_dir.name.isdigit():
        raise FrameError(
            planet_dir, "no such planet folder", "The catalogue names a planet whose frames are not there."
        )
    planet_id = int(planet_dir.name)
    visits, reasons = [], []
    for visit in list_visits(planet_dir):
        curves = {}
        work = partial(_instrument_lightcurve, planet_dir, visit, axis, adc, config)
        both = dict(zip(INSTRUMENTS, _each(work, INSTRUMENTS, config.threads), strict=True))
        if (beside := _unresolved(both[FGS1], both[AIRS])) is not None:
            both[AIRS] = work(AIRS, beside)
        if both[FGS1].curve is not None and (blend := _blended(both[AIRS])):
            both[AIRS] = _Found(None, f"{planet_dir / AIRS.signal_file(visit)}: {blend}", both[AIRS].notes)
        for instrument, found in both.items():
            for note in found.notes:
                events.emit(STAGE, "calibration_masked", planet_id=planet_id, visit=visit, reason=note)
            about = {"planet_id": planet_id, "visit": visit, "instrument": instrument.name}
            if found.curve is not None:
                curves[instrument.name] = found.curve
                if (share := found.curve.quality["saturated_fraction"]) > SATURATED_NOTE:
                    file = planet_dir / instrument.signal_file(visit)
                    reason = f"{file}: {share:.1%} of the star's pixels are saturated and were left out"
                    events.emit(STAGE, "saturated", **about, reason=reason)
                continue
            reasons.append(found.reason)
            events.emit(STAGE, "instrument_left_out", **about, reason=found.reason)
        if curves:
            visits.append(curves)
    if not visits:
        summary = "; ".join(reasons) if reasons else "the folder holds no visit"
        raise FrameError(planet_dir, f"no visit can be used: {summary}", "This planet will get the population's mean.")
    return PlanetLightCurves(planet_id, tuple(visits))


@dataclass(frozen=True)
class _Found:
    """A light curve, or the reason why there is none, and what was odd about its calibration frames."""

    curve: LightCurve | None
    reason: str
    notes: tuple[str, ...]


def _unresolved(fgs1: _Found, airs: _Found) -> Neighbour | None:
    """The neighbour that FGS1's image shows and that AIRS cannot tell from the star, its rows being too near."""
    if fgs1.curve is None or airs.curve is None or "neighbour_flux" in airs.curve.quality:
        return None
    seen = fgs1.curve.quality
    if "neighbour_flux" not in seen or abs(seen["neighbour_row_px"]) > UNRESOLVED_PX:
        return None
    flux = seen["neighbour_flux"]
    sd = float(np.hypot(seen["neighbour_flux_sd"], COLOUR_SD * flux))
    return Neighbour(flux, sd, (seen["neighbour_row_px"], 0.0))


def _blended(airs: _Found) -> str:
    """Why AIRS' light curve is of no use: a neighbour so near that nobody knows how much of its light is in there."""
    seen = {} if airs.curve is None else airs.curve.quality
    if "neighbour_flux" not in seen:
        return ""
    error = seen["neighbour_share_sd"] / max(1 - seen["neighbour_share"], 0.1)
    if error < MOST_DILUTED:
        return ""
    return (
        f"a star of {seen['neighbour_flux']:.0%} of the target's light is {abs(seen['neighbour_row_px']):.1f} rows "
        f"away: the depth is known to {error:.0%} for that. FGS1 tells more"
    )


def _each(work: Callable[[Instrument], _Found], instruments: Sequence[Instrument], threads: int) -> Iterator[_Found]:
    """Results in order. With threads, both instruments at a time: one decodes while the other computes."""
    if threads < 2:  # one after the other: the frames of the first go before the next ones are read
        yield from map(work, instruments)
    else:
        with ThreadPoolExecutor(len(instruments)) as pool:
            yield from pool.map(work, instruments)


def _instrument_lightcurve(
    planet_dir: Path,
    visit: int,
    axis: AxisInfo,
    adc: dict[str, Adc],
    config: LightCurveConfig,
    instrument: Instrument,
    beside: Neighbour | None = None,
) -> _Found:
    notes: tuple[str, ...] = ()
    try:
        raw = read_calibration(planet_dir, instrument, visit)
        notes = raw.notes
        maps = calibration_maps(raw, instrument, config.hot_sigma)
        times = axis.of(instrument)
        signal = read_signal(planet_dir, instrument, visit, len(times.time_h), needed_pixels(instrument))
        return _Found(extract(signal, maps, times, adc[instrument.name], config, beside), "", notes)
    except FrameError as error:
        return _Found(None, str(error), notes)
    except (ValueError, OSError) as error:  # an image without light; a disk that refuses
        return _Found(None, f"{planet_dir / instrument.signal_file(visit)}: {error}", notes)


def write_lightcurves(path: Path, curves: PlanetLightCurves, inputs_hash: str) -> Path:
    """Write one planet's product (safetensors, JSON metadata), atomically; the same content gives the same bytes."""
    tensors, quality = {}, {}
    for index, visit in enumerate(curves.visits):
        for name, curve in visit.items():
            key = f"{index}/{name}"
            quality[key] = curve.quality
            for field in _FIELDS:
                tensors[f"{key}/{field}"] = np.ascontiguousarray(getattr(curve, field))
            for field in _FRAME_FIELDS if curve.frame is not None else ():
                tensors[f"{key}/frame/{field}"] = np.ascontiguousarray(getattr(curve.frame, field))
    header = {"format": _FORMAT, "planet_id": curves.planet_id, "inputs": inputs_hash, "quality": quality}
    # one metadata key: the order of several is not deterministic in safetensors
    return write_atomic(path, save_tensors(tensors, metadata={"kitlib": json.dumps(header, sort_keys=True)}))


def _read_header(path: Path, data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["kitlib"])
        if header["format"] != _FORMAT:
            raise KeyError(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise FrameError(
            path, "is not a light-curve product of this version", "Delete it and calibrate again."
        ) from error
    return header


def read_lightcurves(path: Path) -> PlanetLightCurves:
    """Read what `write_lightcurves` wrote. Raises FrameError for a missing or foreign file."""
    path = Path(path)
    if not path.is_file():
        raise FrameError(path, "file is missing", "Run the calibrate stage.")
    data = path.read_bytes()
    header = _read_header(path, data)
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise FrameError(path, f"is damaged ({error})", "Delete it and calibrate again.") from error
    instruments = {instrument.name: instrument for instrument in INSTRUMENTS}
    visits: dict[int, dict[str, LightCurve]] = {}
    for key, quality in header["quality"].items():
        index, name = key.split("/")
        fields = {field: tensors[f"{key}/{field}"] for field in _FIELDS}
        kept = {field: tensors[f"{key}/frame/{field}"] for field in _FRAME_FIELDS if f"{key}/frame/{field}" in tensors}
        frame = MeanFrame(**kept) if kept else None
        curve = LightCurve(instrument=instruments[name], quality=quality, frame=frame, **fields)
        visits.setdefault(int(index), {})[name] = curve
    return PlanetLightCurves(header["planet_id"], tuple(visits[index] for index in sorted(visits)))


def inputs_hash(planet_dir: Path, shared: str) -> str:
    """Hash of what a planet's product depends on; `shared` stands for configuration, axes and converter.

    Calibration frames are hashed whole. Of a signal file (100 MB, which would cost as much as reading it): name, size,
    its parquet footer (sizes, offsets and statistics of every column) and 64 blocks of 4 KiB spread over the rest.
    """
    digest = hashlib.sha256(shared.encode())
    for path in sorted(Path(planet_dir).rglob("*.parquet")):
        try:
            if path.is_file():
                digest.update(f"{path.relative_to(planet_dir)} {path.stat().st_size} ".encode())
                digest.update(_sample(path) if "_signal_" in path.name else sha256_file(path).encode())
        except OSError as error:  # the reader says so and leaves that instrument out
            digest.update(f"{path.relative_to(planet_dir)} cannot be read: {error.errno} ".encode())
    return digest.hexdigest()


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        stream.seek(max(size - 8, 0))
        footer = min(int.from_bytes(stream.read(4), "little"), size, 1 << 24)
        stream.seek(max(size - 8 - footer, 0))
        digest.update(stream.read())
        for offset in np.linspace(0, max(size - _SAMPLE_BYTES, 0), _SAMPLE_BLOCKS).astype(int):
            stream.seek(int(offset))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.digest()


def calibrate_planets(
    root: Path,
    split: str,
    out_dir: Path,
    config: LightCurveConfig,
    workers: int,
    events: EventLog,
    progress: bool = True,
) -> list[Path]:
    """Light curves of every planet of a split, in `workers` processes; returns the product files, in catalogue order.

    Products whose inputs and configuration are unchanged are kept. A planet that fails is logged and left out. Raises
    FrameError where the catalogue, `axis_info.parquet` or `adc_info.csv` cannot be used.
    """
    planets = read_catalogue(Path(root) / f"{split}_star_info.csv", {}).planet_id.tolist()
    make = product_maker(root, split, out_dir, config, events)
    given = [(planet,) for planet in planets]
    paths = in_processes(make, given, workers, f"calibrate {split}", progress=progress)
    return [path for path in paths if path is not None]


def product_maker(
    root: Path, split: str, out_dir: Path, config: LightCurveConfig, events: EventLog
) -> Callable[[int], Path | None]:
    """What calibrates one planet, in this process or in another: planet id -> product file, or None once logged.

    Raises FrameError where `axis_info.parquet` or `adc_info.csv` cannot be used: then no planet can.
    """
    root = Path(root)
    axis, adc = read_axis_info(root), read_adc_info(root)
    shared = {
        "format": _FORMAT,
        "version": __version__,
        # the number of threads changes no byte of the result
        "config": {key: value for key, value in asdict(config).items() if key != "threads"},
        "axis": sha256_file(root / "axis_info.parquet"),
    }
    return partial(_calibrate_planet, root / split, Path(out_dir), axis, adc, config, shared, events)


def _calibrate_planet(
    split_dir: Path,
    out_dir: Path,
    axis: AxisInfo,
    converters: Converters,
    config: LightCurveConfig,
    shared: dict[str, Any],
    events: EventLog,
    planet: int,
) -> Path | None:
    """Product file of one planet, or None with the reason in the event log."""
    planet_dir, path = split_dir / str(planet), out_dir / f"{planet}.safetensors"
    try:
        adc = converters.of(planet)
        own = {"adc": {name: asdict(converter) for name, converter in adc.items()}}
        current = inputs_hash(planet_dir, sha256_json(shared | own))
        if _stored_hash(path) == current:
            return path
        curves = planet_lightcurves(planet_dir, axis, adc, config, events)
    except Exception as error:  # whatever one planet's files provoke must not cost the others their result
        reason = str(error) if isinstance(error, FrameError) else f"{planet_dir}: {type(error).__name__}: {error}"
        events.emit(STAGE, "planet_left_out", planet_id=planet, reason=reason)
        path.unlink(missing_ok=True)  # a product of other inputs must not be taken for this planet's
        return None
    return write_lightcurves(path, curves, current)


def _stored_hash(path: Path) -> str | None:
    """The inputs' hash in a product's header; None where there is no sound product."""
    try:
        with open(path, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            start = size.to_bytes(8, "little") + stream.read(min(size, 1 << 24))
            header = json.loads(start[8:])
            end = max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
            complete = path.stat().st_size == 8 + size + end
        return _read_header(path, start)["inputs"] if complete else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
