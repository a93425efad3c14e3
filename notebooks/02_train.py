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
# # 2. Train: priors, fusion model and sigma calibration
#
# Fits the training planets fold by fold, each with priors of spectra and limb darkening that were learnt from the other
# folds, fine-tunes the fusion model fold by fold, and fits the sigma calibrators to what comes out of fold. With few
# training planets the priors and the model shipped with the kit are used.

# %% [markdown]
# `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`, or one string
# of them. The kit must be installed: `make` does that here, and on Kaggle the cell that `build_kernel.py kernel` puts
# first.

# %% tags=["parameters"]
overrides: list = []

# %%
from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.paths import environment, find_data_root
from kitlib.run.notebook import displaying, words_of

config = compose("train", [f"env={environment()}", *words_of(overrides)])
calibrator = pipeline.train(config)
print(calibrator.read_text())

# %% [markdown]
# ## Score of the training planets
# Out of fold twice: neither the prior nor the calibrator has seen the planet that it is scored on.

# %%
with displaying("the out-of-fold score", "train", calibrator.parent):
    from IPython.display import display

    from kitlib.base.products import Spectra
    from kitlib.detector.tables import read_spectra_csv
    from kitlib.run.inputs import rows_of
    from kitlib.sigma.fit import cross_calibrate
    from kitlib.sigma.metric import gll_score, naive_statistics
    from kitlib.spectra.posterior import read_posterior

    posterior, curves = read_posterior(calibrator.parent / "train_posterior.safetensors")
    spectra = read_spectra_csv(find_data_root(config.data.root) / "train.csv", {})
    truth = Spectra(posterior.planet_id, spectra.depth[rows_of(spectra.planet_id, posterior.planet_id)])
    prediction = cross_calibrate(posterior, truth, config.sigma.folds)
    display(gll_score(prediction.mu, prediction.sigma, truth.depth, *naive_statistics(spectra.depth)))

# %%
with displaying("the levels", "train", calibrator.parent):
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    levels = {"FGS1": (prediction.mu[:, 0], truth.depth[:, 0]), "AIRS": (prediction.mu[:, 1:], truth.depth[:, 1:])}
    for axis, (name, (found, true)) in zip(axes, levels.items(), strict=True):
        found, true = found.reshape(len(found), -1).mean(1), true.reshape(len(true), -1).mean(1)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.plot(100 * true, 1e6 * (found - true), "o", markersize=4)
        axis.set(
            title=f"{name} level: rms {1e6 * np.sqrt(np.mean((found - true) ** 2)):.0f} ppm", xlabel="true depth, %"
        )
    axes[0].set_ylabel("recovered - true, ppm")
    figure.tight_layout()
