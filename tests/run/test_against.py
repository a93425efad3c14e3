"""`report.against`: another run beside this one, from what both have left on disk."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
from here import planets_here
from reportdata import trace, unpacked

from kitlib import pipeline
from kitlib.__main__ import main
from kitlib.base.config import compose
from kitlib.detector import read_lightcurves
from kitlib.spectra import read_posterior


def test_two_runs_on_disk_are_compared_and_the_page_holds_what_the_stages_kept(few, tmp_path, capsys):
    campaign = ["data=sim_tiny", f"simulate.out={few}"]
    predicted = tmp_path / "predicted"
    with planets_here():
        pipeline.predict(compose("predict", ["env=ci", *campaign, f"run.out={predicted}"]))
    out, other = tmp_path / "this one", tmp_path / "another"
    for folder in (out, other):
        shutil.copytree(predicted, folder, ignore=shutil.ignore_patterns("products"))
    table = pl.read_csv(other / "submission.csv")
    first, second = table["planet_id"]
    kept = out / "products" / "lightcurves" / "test"
    kept.mkdir(parents=True)  # of the first planet a product, of the second a damaged one
    source = predicted / "products" / "lightcurves" / "test" / f"{first}.safetensors"
    shutil.copy(source, kept)
    (kept / f"{second}.safetensors").write_bytes(source.read_bytes()[:1000])
    table.with_columns(pl.col("wl_1") * 1.01).write_csv(other / "submission.csv")
    words = ["diagnose", "report", "env=ci", *campaign, f"run.out={out}"]
    words.append("report.heavy=false")
    assert main([*words, f"report.against={other}"]) == 0
    page = (out / "report.html").read_text()
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', page, re.S).group(1))
    changed = unpacked(payload, payload["figures"]["two-runs"])
    assert changed["layout"]["meta"]["planets"] and (trace(changed, "FGS1")["y"] < 0).all()
    np.testing.assert_allclose(trace(changed, "AIRS level")["y"], 0, atol=1e-6)
    posterior, _ = read_posterior(out / "physics.safetensors")
    drawn = unpacked(payload, payload["planets"][0]["spectrum"])
    measured = posterior.inputs["measured"][0, 0, 1:] * 1e6
    np.testing.assert_allclose(trace(drawn, "measured, light curves alone")["y"], measured, rtol=1e-4)
    assert trace(drawn, "another", 0)["y"][0] == pytest.approx(1e4 * 101 * table["wl_1"][0], rel=1e-6)
    one, damaged = payload["planets"]
    assert one["id"] == str(first) and [m["kind"] for m in one["maps"]][:2] == ["light", "residuals"]
    assert damaged["frames"] == [] and {m["kind"] for m in damaged["maps"]} == {"residuals"}
    frame = read_lightcurves(source).visits[0]["FGS1"].frame
    shown = unpacked(payload, one["frames"][0]["frame"])["data"][0]["z"]
    np.testing.assert_allclose(shown, np.log10(np.maximum(frame.flux_e, 1)), atol=0.02)
    residual = unpacked(payload, one["maps"][1]["figure"])["data"][0]["z"]
    assert residual.shape[0] == 47 and 0.4 < np.nanstd(residual) < 1.6
    capsys.readouterr()
    assert main([*words, f"report.against={tmp_path / 'nowhere'}"]) == 2
    assert "nowhere" in (told := capsys.readouterr().err) and "has no submission.csv: give the folder" in told


def test_help_tells_of_the_key(capsys):
    assert main(["diagnose", "--help"]) == 0
    assert "report.against" in (told := capsys.readouterr().out) and "another run" in told
