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
# # 2. Train: what the training planets teach
#
# A bin's light curve alone knows its depth to 200 or 300 ppm. Bins become useful together, once it is known what
# spectra look like. Three things are learnt here from planets whose spectra are known:
#
# 1. a **prior over spectra**, as a mixture of kinds of atmospheres, and one over how dark stars' limbs are;
# 2. a **fusion model**, a small network that corrects the physical answer;
# 3. the **calibration of sigma**: error bars as large as errors are.
#
# Each training planet is fitted with what the *other* folds have taught, so the scores below are those of unseen
# planets. With few training planets the priors and the model shipped with the kit are used. *3. Infer* works without
# this notebook.

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

config = compose("train", [f"env={environment()}", *words_of(overrides)])
calibrator = pipeline.train(config)
print(f"calibrator: {calibrator}")

# %% [markdown]
# ## The prior: kinds of atmospheres
# A spectrum is taken apart into its **level** $L$ (mean depth of AIRS) and its **shape** (the rest), with an amplitude
# $a$:
#
# $$ d_b = L + a\, S_b, \qquad S \sim \sum_k w_k\, \mathcal{N}\big(m_k,\ \Lambda_k \Lambda_k^T + R_k\big) $$
#
# Each kind $k$ has a mean shape $m_k$ and directions $\Lambda_k$ in which its members differ (a mixture of factor
# analysers). Below are the means of the most frequent ones. Open parts of the prior stand for atmospheres that nobody
# has seen.

# %%
with displaying("the prior", "train", calibrator.parent):
    from IPython.display import display

    from kitlib.detector import read_wavelengths
    from kitlib.report import ReportData, figures
    from kitlib.transit import Priors

    root = find_data_root(config.data.root)
    wavelengths = read_wavelengths(root / "wavelengths.csv")
    prior = Priors.load(calibrator.parent / "prior.safetensors").spectrum
    display(figures.kinds_figure(prior, wavelengths))

# %% [markdown]
# ## The score of planets that nothing was learnt from
# A planet's bin gets points for the likelihood of the true depth $y$ under the answer $\mu \pm \sigma$. The
# population's mean and scatter ("naive") score 0, the truth itself scores 1:
#
# $$ s = \frac{\ln N(y\,|\,\mu, \sigma) - \ln N(y\,|\,\mathrm{naive})}
# {\ln N(y\,|\,y, \sigma_\mathrm{true}) - \ln N(y\,|\,\mathrm{naive})} $$
#
# Out of fold twice: neither the prior nor the calibration has seen the planet that it is scored on.

# %%
with displaying("the out-of-fold score", "train", calibrator.parent):
    from kitlib.base.products import Prediction, Spectra
    from kitlib.detector import read_spectra_csv
    from kitlib.run.diagnosis import score_table
    from kitlib.run.inputs import rows_of
    from kitlib.sigma import naive_statistics
    from kitlib.sigma.fit import cross_calibrate
    from kitlib.spectra import read_posterior

    posterior, _ = read_posterior(calibrator.parent / "train_posterior.safetensors")
    spectra = read_spectra_csv(root / "train.csv", {})
    truth = Spectra(posterior.planet_id, spectra.depth[rows_of(spectra.planet_id, posterior.planet_id)])
    answers = {
        "before calibration": Prediction(posterior.planet_id, posterior.mean, posterior.sigma),
        "calibrated, out of fold": cross_calibrate(posterior, truth, config.sigma.folds),
    }
    scores = score_table(answers, truth.depth, naive_statistics(spectra.depth))
    heads = {"total": "total", "fgs1": "FGS1", "airs": "AIRS"}
    display(Table([{"answer": name, **{heads[k]: round(v, 4) for k, v in s.items()}} for name, s in scores.items()]))

# %% [markdown]
# ## Levels
# An error of the level hits all bins of AIRS at once. Drift and limb darkening are what it comes from.

# %%
with displaying("the levels", "train", calibrator.parent):
    display(figures.level_error_figure(answers["calibrated, out of fold"].mu, truth.depth))

# %% [markdown]
# ## Is sigma right?
# Before calibration: how many of the truths lie within intervals of each size, and how errors over their sigma are
# distributed. Below: in which tenth of its predicted distribution each truth lies, which should be every tenth
# equally often. Errors of FGS1, of the level and of the shape come from different places, so each has its own line.
#
# What the calibration does about each part stands in the table. A factor above 1 says that the fit's own sigma was
# too small. A floor is added in quadrature, as a fixed error in ppm or as a share of the depth.

# %%
with displaying("the error bars", "train", calibrator.parent):
    from kitlib.run import summaries
    from kitlib.sigma import Calibrator

    naive = naive_statistics(spectra.depth)
    before = answers["before calibration"]
    data = ReportData("", before, wavelengths, truth=truth.depth, naive=naive, posterior=posterior)
    display(figures.reliability_figure(data))
    learnt = Calibrator.from_json(calibrator.read_text())
    display(Table(summaries.calibration_rows(learnt)))
