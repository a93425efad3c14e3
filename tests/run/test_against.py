"""`report.against`: another run beside this one, from what both have left on disk."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
from reportdata import trace, unpacked

from kitlib.__main__ import main
from kitlib.spectra import read_posterior


def test_two_runs_on_disk_are_compared_and_the_page_holds_what_predict_kept(campaign, predicted, tmp_path, capsys):
    out, other = tmp_path / "this one", tmp_path / "another"
    for folder in (out, other):
        shutil.copytree(predicted, folder, ignore=shutil.ignore_patterns("products"))
    table = pl.read_csv(other / "submission.csv")
    table.with_columns(pl.col("wl_1") * 1.01).write_csv(other / "submission.csv")
    words = ["diagnose", "report", "env=ci", "data=sim_tiny", f"simulate.out={campaign}", f"run.out={out}"]
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
    residual = unpacked(payload, payload["planets"][0]["maps"][0]["figure"])["data"][0]["z"]
    assert residual.shape[0] == 47 and 0.4 < np.nanstd(residual) < 1.6
    capsys.readouterr()
    assert main([*words, f"report.against={tmp_path / 'nowhere'}"]) == 2
    assert "nowhere" in (told := capsys.readouterr().err) and "has no submission.csv: give the folder" in told


def test_help_tells_of_the_key(capsys):
    assert main(["diagnose", "--help"]) == 0
    assert "report.against" in (told := capsys.readouterr().out) and "another run" in told
