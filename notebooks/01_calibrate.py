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
# # 1. Calibrate: raw frames to light curves
#
# Reads every planet of the training and of the test set once: electrons from ADU, dead and hot pixels, linearity, dark,
# CDS, flat, background, extraction with variance weights, binning in time. One small product file a planet; finished
# planets are skipped.

# %% [markdown]
# `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`, or one string
# of them. The kit must be installed: `make` does that here, and on Kaggle the cell that `build_kernel.py kernel` puts
# first.

# %% tags=["parameters"]
overrides: list = []

# %%
from dataclasses import replace

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.paths import environment, find_data_root
from kitlib.run.notebook import displaying, words_of

config = compose("calibrate", [f"env={environment()}", *words_of(overrides)])
root = find_data_root(config.data.root)
splits = [name for name in ("train", "test") if (root / name).is_dir() and (root / f"{name}_star_info.csv").is_file()]
products = {}
for split in splits:
    products[split] = pipeline.calibrate(replace(config, data=replace(config.data, split=split)))

# %% [markdown]
# ## What came out
# One row for each instrument of each visit of the first planets: samples, mean flux (electrons per CDS pair), estimated
# noise of the white light curve, and the quality figures that the extraction left.

# %%
with displaying("the light curves' table", "calibrate", config.run.out):
    import numpy as np
    import polars as pl
    from IPython.display import display

    from kitlib.detector.lightcurves import read_lightcurves

    curves = [curve for split in splits for path in products[split][:4] for visit in read_lightcurves(path).visits
              for curve in visit.values()]  # fmt: skip
    rows = [
        {
            "instrument": curve.instrument.name,
            "samples": len(curve.time_h),
            "flux_e": float(np.nanmean(np.nansum(curve.flux_e, axis=1))),
            **{name: round(float(value), 5) for name, value in curve.quality.items()},
        }
        for curve in curves
    ]
    display(pl.DataFrame(rows))

# %%
with displaying("a planet's light curves", "calibrate", config.run.out):
    import matplotlib.pyplot as plt

    example = read_lightcurves(products[splits[-1]][0])
    figure, axes = plt.subplots(len(example.visits[0]), 1, figsize=(9, 5), sharex=True, squeeze=False)
    for axis, curve in zip(axes[:, 0], example.visits[0].values(), strict=True):
        white = np.nansum(curve.flux_e, axis=1)
        axis.plot(curve.time_h, white / np.median(white), ".", markersize=3)
        axis.set(ylabel="relative flux", title=f"planet {example.planet_id}, {curve.instrument.name}")
    axes[-1, 0].set_xlabel("hours since the visit's start")
    figure.tight_layout()
