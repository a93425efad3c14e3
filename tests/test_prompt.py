"""What a person at a prompt calls: `kitlib.predict`, `kitlib.score`, light curves, and figures of both."""

import subprocess
import sys

import numpy as np
import pytest

import kitlib


@pytest.fixture(scope="module")
def answer(few, here, tmp_path_factory):
    out = tmp_path_factory.mktemp("at a prompt [1]")
    return out, kitlib.predict(few / "data", out, "model=physics", "run.progress=false")


def test_predict_and_score(few, answer):
    out, found = answer
    assert found.mu.shape == found.sigma.shape == (2, 283)
    score = kitlib.score(few / "solution.csv", out / "submission.csv", few / "data" / "train.csv")
    assert 0 < score.total < 1


def test_light_curves_and_their_figure(answer):
    out, found = answer
    path = out / "products" / "lightcurves" / "test" / f"{found.planet_id[0]}.safetensors"
    curves = kitlib.read_lightcurves(path)
    figure = kitlib.plot_lightcurves(curves)
    assert len(figure.data) == 3 * len(curves.visits)
    time_h, flux = figure.data[1].x, figure.data[1].y
    np.testing.assert_array_equal(time_h, curves.visits[0]["AIRS-CH0"].time_h)
    assert np.nanmedian(flux) == pytest.approx(1)


def test_spectrum_figure_has_the_answer_and_the_truth(few, answer):
    _, found = answer
    tables = few / "data" / "wavelengths.csv", few / "solution.csv"
    figure = kitlib.plot_spectrum(found, found.planet_id[1], *tables)
    drawn = {trace.name: trace for trace in figure.data}  # FGS1's points stand before the lines of AIRS
    np.testing.assert_allclose(drawn["recovered"].y, found.mu[1, 1:] * 1e6)
    assert "true" in drawn
    without = kitlib.plot_spectrum(found, found.planet_id[1], tables[0])
    assert "true" not in [trace.name for trace in without.data]
    with pytest.raises(KeyError, match="planet 7 is not among the 2"):
        kitlib.plot_spectrum(found, 7, tables[0])


def test_importing_the_package_is_light():
    code = "import sys, kitlib; print([name for name in ('torch', 'numpy', 'hydra') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
