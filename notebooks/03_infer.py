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
# # 3. Infer: `submission.csv`
#
# Frames of the test set to a validated submission. It works with or without notebook 2: what was trained in this run's
# folder, or in the run that `run.trained=DIR` names, is used, else what was trained in a run that Kaggle mounts, else
# the prior, model and calibrator shipped with the kit. A valid file is on disk from the first minute.

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

config = compose("predict", [f"env={environment()}", *words_of(overrides)])
submission = pipeline.predict(config)

# %% [markdown]
# ## What was written
# All that follows only shows it: the file above stands whatever happens below.

# %%
with displaying("the submission", "predict", submission.parent):
    import numpy as np
    import polars as pl
    from IPython.display import display

    from kitlib.submission.validation import read_submission

    prediction = read_submission(submission)
    names = [f"{name}_{number}" for name in ("wl", "sigma") for number in (1, 2, 283)]
    values = np.hstack([prediction.mu[:, [0, 1, 282]], prediction.sigma[:, [0, 1, 282]]])
    display(pl.DataFrame({"planet_id": prediction.planet_id}).hstack(pl.DataFrame(values, schema=names)).head())

# %% [markdown]
# ## Fits and fallbacks
# `fallback` 0 is the full joint fit. Whatever went wrong with a planet is in the event log with its reason.

# %%
with displaying("the fits", "predict", submission.parent):
    from kitlib.spectra.posterior import read_posterior

    posterior, curves = read_posterior(submission.parent / "posterior.safetensors")
    display(pl.DataFrame({"planet_id": posterior.planet_id, **posterior.diagnostics}).head(12))

# %%
with displaying("the events", "predict", submission.parent):
    from kitlib.run.diagnosis import latest_events

    events = [e for e in latest_events(submission.parent) if "planet_id" in e]
    keys = ("planet_id", "stage", "event", "reason")
    display(pl.DataFrame([{key: str(event.get(key, "")) for key in keys} for event in events]))

# %%
with displaying("the spectra", "predict", submission.parent):
    import matplotlib.pyplot as plt

    from kitlib.detector.tables import read_wavelengths

    wavelengths = read_wavelengths(find_data_root(config.data.root) / "wavelengths.csv")
    figure, axis = plt.subplots(figsize=(9, 4))
    for mu, sigma, planet in zip(prediction.mu[:3], prediction.sigma[:3], prediction.planet_id[:3], strict=True):
        axis.errorbar(wavelengths, 100 * mu, 100 * sigma, fmt=".", markersize=2, elinewidth=0.4, label=str(planet))
    axis.set(xlabel="wavelength, um", ylabel="transit depth, %")
    axis.legend(title="planet")
    figure.tight_layout()
