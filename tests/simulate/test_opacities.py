"""Cross-sections: rotors against textbook lines, everything against measured tables where they lie."""

import numpy as np
import pytest

from kitlib.simulate.molecules import MOLECULES, OTHERS, Band, Rotor
from kitlib.simulate.opacities import _lines, cross_section, fine_structure
from kitlib.simulate.optics import wavelengths_um

WL = wavelengths_um()[1:]
MEAN_BINS = 17  # fine structure is what a running mean of so many bins leaves


def fine(values: np.ndarray) -> np.ndarray:
    around = np.pad(values, MEAN_BINS // 2, mode="edge")
    return values - np.convolve(around, np.ones(MEAN_BINS) / MEAN_BINS, mode="valid")


def test_every_molecule_absorbs_and_is_finite():
    assert len(MOLECULES) >= 11 and not set(MOLECULES) & set(OTHERS)
    for name, molecule in (MOLECULES | OTHERS).items():
        sigma = cross_section(molecule)
        assert sigma.shape == (282,) and np.isfinite(sigma).all() and sigma.min() > 0, name
        assert 1e-23 < sigma.max() < 1e-17, name
        assert sigma.max() / sigma.min() > 20, name


def test_a_diatomic_molecule_has_its_textbook_lines():
    """HCl's fundamental: R(0) 2906.2, P(1) 2865.1 cm-1 (Herzberg 1950), no line at its origin 2886.0."""
    (band,) = OTHERS["HCl"].bands
    where, share = _lines(OTHERS["HCl"], band, 300.0)
    assert np.isclose(share.sum(), 1)
    seen = np.sort(where[share > 1e-4])
    below, above = seen[seen < 2886].max(), seen[seen > 2886].min()
    assert np.isclose(above, 2906.2, atol=0.5) and np.isclose(below, 2865.1, atol=0.5)


def test_co_has_its_head_and_its_gap():
    """Of the overtone 2-0: the R branch turns at 2.2935 um, and there is a gap at the origin, 2.347 um.

    A rotor that does not stretch turns 2 nm early, a third of a bin.
    """
    where, share = _lines(MOLECULES["CO"], MOLECULES["CO"].bands[0], 2500.0)
    assert np.isclose(1e4 / where[share > 1e-6].max(), 2.2935, atol=0.0025)
    sigma = cross_section(MOLECULES["CO"], 500.0)
    inside = (WL > 2.32) & (WL < 2.39)
    assert np.isclose(WL[inside][sigma[inside].argmin()], 2.347, atol=0.008)


def test_branches_have_the_strengths_of_their_kinds():
    """Linear: a third kind of line only where the bending changes, and then half of all (Herzberg 1945)."""
    for kind, expected in (("parallel", 0.0), ("perpendicular", 0.5)):
        where, share = _lines(Rotor(1.0, ()), Band(4000.0, 1.0, kind=kind), 1000.0)
        assert np.isclose(share[np.abs(where - 4000) < 1e-6].sum(), expected, atol=0.01), kind
    where, share = _lines(Rotor(5.0, ()), Band(3000.0, 1.0, kind="spherical"), 1000.0)
    size = np.abs(where - 3000)
    assert np.isclose(share[size < 5].sum(), 1 / 3, atol=0.06)  # a spherical top: a third each
    top = Rotor(9.9, (), c=6.2)
    ks = _lines(top, Band(3000.0, 1.0), 1000.0)
    assert np.isclose((ks[1] * (ks[0] > 3001)).sum() + (ks[1] * (ks[0] < 2999)).sum(), 2 / 3, atol=0.08)


def test_spin_weights_take_lines_away():
    where, share = _lines(MOLECULES["CO2"], MOLECULES["CO2"].bands[0], 300.0)
    seen = np.sort(where[share > 1e-5])
    near = seen[(seen > 3708) & (seen < 3714.7)]
    assert np.allclose(np.diff(near), 4 * MOLECULES["CO2"].b, rtol=0.1)  # odd levels do not exist: every second line


def test_drawn_structure_is_the_same_for_ever_and_of_unit_size():
    assert np.array_equal(fine_structure(1), fine_structure(1)) and not np.allclose(
        fine_structure(1), fine_structure(2)
    )
    many = np.stack([fine_structure(n) for n in range(300)])
    assert np.isclose(many.std(), 1, rtol=0.03)
    lag = [np.mean(many[:, k:] * many[:, : 282 - k]) for k in (1, 2, 4, 8)]
    assert lag[0] > 0.8 and 0.4 < lag[1] < 0.75 and lag[3] < 0.1


@pytest.mark.parametrize(
    ("name", "low", "high"), [("HCN", 2.93, 3.16), ("C2H2", 2.95, 3.15), ("CO", 2.28, 2.50), ("CO2", 2.64, 2.95)]
)
def test_rotors_follow_measured_tables(opacities_dir, name, low, high):
    table = np.load(opacities_dir / "table.npz")
    measured = table[name]
    inside = (low < WL) & (high > WL) & np.isfinite(measured)
    ours, theirs = (fine(np.log(values[inside])) for values in (cross_section(MOLECULES[name]), measured))
    assert np.corrcoef(ours, theirs)[0, 1] >= 0.8


def test_bands_lie_where_measured_ones_do(opacities_dir):
    table = np.load(opacities_dir / "table.npz")
    q_branch = (WL > 3.28) & (WL < 3.36)
    places = [np.argmax(values[q_branch]) for values in (table["CH4"], cross_section(MOLECULES["CH4"]))]
    assert abs(places[0] - places[1]) <= 1
    for name in MOLECULES:
        measured = np.log(table[name])
        seen = np.isfinite(measured) & (measured > np.nanmax(measured) - np.log(1e3))
        ours = np.log(cross_section(MOLECULES[name]))
        smooth = [np.convolve(values[seen], np.ones(9) / 9, mode="valid") for values in (measured, ours)]
        assert np.corrcoef(smooth)[0, 1] > 0.8, name


def test_drawn_structure_has_the_size_of_the_measured_one(opacities_dir):
    table = np.load(opacities_dir / "table.npz")
    red = WL > 2.7
    ours, theirs = (fine(np.log(values))[red].std() for values in (cross_section(MOLECULES["H2O"]), table["H2O"]))
    assert np.isclose(ours, theirs, rtol=0.35)
