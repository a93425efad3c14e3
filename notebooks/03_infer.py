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
# # 3. Infer: from frames to `submission.csv`
#
# Every test planet's light curves are fitted as star × drift × transit, all wavelengths together. Channel $c$ sees
#
# $$ F_c(t) = \underbrace{F_c^\star}_\text{star}\ \underbrace{\big(1 + p(t)\,q_c\big)}_\text{drift}\,
# \underbrace{T\big(t;\ d_c,\ a/R_s,\ b,\ t_0,\ u_c\big)}_\text{transit} $$
#
# What the light curves say of the 283 depths is then a Gaussian. So is each part of the prior over spectra. Their
# product is the answer, in closed form: a depth and an error bar for every bin. Before it is believed, a **gate**
# looks at the residuals.
#
# It works with or without notebook 2. What was trained in this run's folder, or in the run that `run.trained=DIR`
# names, is used, else what was trained in a run that Kaggle mounts, else what ships with the kit. A valid file is on
# disk from the first minute.

# %% [markdown]
# **Settings.** `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`,
# or one string of them. The kit must be installed: `make` does that here, and on Kaggle the cell that
# `build_kernel.py kernel` puts first.

# %% tags=["parameters"]
overrides: list = []

# %%
from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.paths import environment, find_data_root
from kitlib.run.notebook import Table, displaying, words_of

config = compose("predict", [f"env={environment()}", *words_of(overrides)])
submission = pipeline.predict(config)
print(f"submission: {submission}")

# %% [markdown]
# ## What was written
# All that follows only shows it: the file above stands whatever happens below. Depths and their error bars of the first
# planets, in ppm of the star's light.

# %%
with displaying("the submission", "predict", submission.parent):
    from IPython.display import display

    from kitlib.run import summaries
    from kitlib.submission import read_submission

    prediction = read_submission(submission)
    print(f"{len(prediction.planet_id)} planets with {prediction.mu.shape[1]} depths and sigmas each")
    display(Table(summaries.prediction_rows(prediction)[:8]))

# %% [markdown]
# ## Two planets: light curves and fit
# White light with the fitted model, and below it what the fit leaves. The depth of the dip is near the depth of the
# planet, but not equal to it: a star is darker at its edge, and the drift bends the light beside the transit.

# %%
with displaying("the fits", "predict", submission.parent):
    from kitlib.detector import read_wavelengths
    from kitlib.report import ReportData, figures
    from kitlib.spectra import read_posterior

    posterior, curves = read_posterior(submission.parent / "posterior.safetensors")
    wavelengths = read_wavelengths(find_data_root(config.data.root) / "wavelengths.csv")
    structured = summaries.most_structured(posterior, 6).tolist()
    data = ReportData("", prediction, wavelengths, panels=tuple(curves))
    for planet in structured[:2]:
        display(figures.light_curve_figure(data, planet))

# %% [markdown]
# ## Six spectra
# Those that differ most from a flat line, in units of their own uncertainty. The band is one sigma. The point on the
# left is FGS1, and the bars on top say where molecules absorb. Neighbouring bins are not independent: much of the band
# moves up and down together.

# %%
with displaying("the spectra", "predict", submission.parent):
    display(figures.spectra_figure(data, structured))

# %% [markdown]
# ## How certain?
# Sigma against depth, a point a planet. What no fit explains (spots, a limb that is not quite the star's) is a share
# of the depth, so deep transits have larger error bars. A planet far above the others is one that the gate did not
# trust.

# %%
with displaying("sigma against depth", "predict", submission.parent):
    display(figures.sigma_depth_figure(prediction))

# %% [markdown]
# ## What was flagged
# Planets whose fit was not sound, or whose data were out of the ordinary, each with the reason. The gate's answers,
# from good to bad: the fit of all data; of a part of the data; a sigma that covers the misfit; the population's mean
# and scatter.

# %%
with displaying("what was flagged", "predict", submission.parent):
    from kitlib.run.diagnosis import latest_events

    display(Table(summaries.outcome_rows(posterior)))
    display(Table(summaries.event_rows(latest_events(submission.parent))[:30], "No planet was out of the ordinary."))
