# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Calibrate: from raw frames to light curves
#
# A planet passes in front of its star and hides a share $(R_p/R_s)^2$ of its light: the **transit depth**. Its
# atmosphere makes the depth change with wavelength, by 10 to 300 parts per million (ppm). Ariel watches a transit
# with a camera, **FGS1** (one bin at 0.7 µm), and a spectrometer, **AIRS** (282 bins, 1.95 to 3.90 µm).
#
# This notebook reads every planet's raw frames once and writes its light curves: one small file a planet. Planets that
# are finished are skipped when it runs again. Next comes *2. Train*, or *3. Infer* at once.

# %% [markdown]
# **Settings.** `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`,
# or one string of them. The kit must be installed: `make` does that here, and on Kaggle the cell that
# `build_kernel.py kernel` puts first.

# %% tags=["parameters"]
overrides: list = []

# %%
from dataclasses import replace

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.paths import environment, find_data_root
from kitlib.run.notebook import Table, displaying, words_of

config = compose("calibrate", [f"env={environment()}", *words_of(overrides)])
root = find_data_root(config.data.root)
splits = [name for name in ("train", "test") if (root / name).is_dir() and (root / f"{name}_star_info.csv").is_file()]
products = {}
for split in splits:
    products[split] = pipeline.calibrate(replace(config, data=replace(config.data, split=split)))
print("light curves of", ", ".join(f"{len(paths)} {split} planets" for split, paths in products.items()))

# %% [markdown]
# ## What a frame looks like
# Frames come in pairs. Charge builds up between two reads, so their difference is what arrived in between: one
# *correlated double sample* (CDS), free of each pixel's offset. AIRS spreads the star along its columns, by wavelength.
# FGS1 sees it as a point.

# %%
with displaying("a raw pair", "calibrate", config.run.out):
    from IPython.display import display

    from kitlib.report import figures

    planet = products[splits[-1]][0].stem
    display(figures.raw_pair_figure(root / splits[-1] / planet))

# %% [markdown]
# ## From pixels to a light curve
# Each pixel goes from converter units to electrons, through linearity, dark and flat. The light curve of a bin is a
# weighted sum of pixels $i$ with electrons $d_i(t)$ and weights $w_i$, less the same sum of the sky $m(t)$ far from the
# star:
#
# $$ F(t) = \sum_i w_i\, d_i(t) - \Big(\sum_i w_i\Big)\, m(t) $$
#
# A sky that is the same in all pixels cancels exactly. That matters: a share $s$ of foreign light makes the depth
# smaller by the factor $1 - s$, and a tenth of a per cent is 10 ppm of a depth of 1 %. The weights give the least
# noise (Horne 1986).
#
# Below: the two light curves of all wavelengths together ("white"), and AIRS in groups of six bins, each over its
# median. The
# transit is the dip, or the dark band. Slow slopes beside it are the detector's drift.

# %%
with displaying("a planet's light curves", "calibrate", config.run.out):
    from kitlib.detector import read_lightcurves

    display(figures.measured_figure(read_lightcurves(products[splits[-1]][0])))

# %% [markdown]
# ## How good are they?
# No light curve can be better than its photons: the error of $n$ electrons is $\sqrt{n}$. Points on the line scatter
# from sample to sample as their photons and reads say, and no more. Each point is one light curve.

# %%
with displaying("the noise", "calibrate", config.run.out):
    curves = [read_lightcurves(path) for split in splits for path in products[split][:60]]
    display(figures.noise_figure(curves))

# %% [markdown]
# The first planets in numbers: light of the star, pixels without weight, cosmic rays found, and pairs of frames left
# out because they do not show the star.

# %%
with displaying("the light curves' table", "calibrate", config.run.out):
    import numpy as np

    rows = [
        {
            "planet": one.planet_id,
            "visit": number,
            "instrument": name,
            "electrons a pair, millions": round(float(np.nanmean(np.nansum(curve.flux_e, axis=1))) / 1e6, 2),
            "pixels masked, %": round(100 * curve.quality["masked_fraction"], 1),
            "cosmic rays": int(curve.quality["cosmic_rays"]),
            "pairs left out, %": round(100 * curve.quality["pairs_rejected"], 2),
        }
        for one in curves[:4]
        for number, visit in enumerate(one.visits)
        for name, curve in visit.items()
    ]
    display(Table(rows))
