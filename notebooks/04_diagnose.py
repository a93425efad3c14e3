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
# # 4. Diagnose: can it be believed?
#
# A spectrum without honest error bars is worth nothing, to science and to the score. This notebook looks at a run that
# *3. Infer* has made: the official score where the truth is known, whether errors are as large as sigma says, where the
# score is lost, and which planets stand out. All of it, for every planet, is also in one HTML page, `report.html`, that
# opens without a network.

# %% [markdown]
# **Settings.** `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`,
# or one string of them. The kit must be installed: `make` does that here, and on Kaggle the cell that
# `build_kernel.py kernel` puts first.

# %% tags=["parameters"]
overrides: list = []

# %%
from kitlib import pipeline
from kitlib.__main__ import score_text
from kitlib.base.config import compose
from kitlib.base.paths import environment
from kitlib.run.notebook import Table, displaying, words_of

config = compose("diagnose", [f"env={environment()}", *words_of(overrides)])
result = pipeline.diagnose(config)
out = result["submission"].parent
print(score_text(result["scores"]) if result["scores"] else "The truth is not known: no scores.")
print(f"\nsubmission  {result['submission']}\nreport      {result['report']}")

# %% [markdown]
# `naive` is the mean and scatter of all training planets, the answer of one who looks at no data. `physics` is the
# physical fit with its prior. `v50` has the fusion model on top.
#
# ## Two planets
# Light curves with their fit and what it leaves; the spectrum with its error bars, and the truth where it is known.

# %%
with displaying("two planets", "diagnose", out):
    from IPython.display import display

    from kitlib.report import figures

    data = result["data"]
    shown = list(dict.fromkeys(panel.planet_id for panel in data.panels))[:2]
    for planet in shown:
        display(figures.light_curve_figure(data, planet), figures.spectrum_figure(data, planet))

# %% [markdown]
# ## Are the error bars honest?
# With $z = (\mu - y)/\sigma$, honest errors have a spread of 1, and 68 % of them lie within one sigma. Above: how
# many of the truths lie within intervals of each size, and how the errors are distributed. Below: in which tenth of
# its predicted distribution each truth lies, which should be every tenth equally often. It is judged by parts,
# because errors of the **level** (mean of AIRS) and of the **shape** (each bin less the level) come from different
# places.

# %%
with displaying("the reliability of sigma", "diagnose", out):
    from kitlib.run import summaries

    if data.truth is None:
        print("The truth is not known: nothing to compare with.")
    else:
        display(figures.reliability_figure(data), Table(summaries.reliability_rows(result["calibration"])))

# %% [markdown]
# ## Where is the score lost?
# The *accuracy part* is what the same errors would score if sigma had the best size, one factor a planet in AIRS. The
# rest is lost by sigma. Some of that is luck alone: with a few planets even honest error bars look a little wrong.

# %%
with displaying("the score", "diagnose", out):
    if data.truth is None:
        print("The truth is not known: no score.")
    else:
        display(figures.score_figure(data), Table(summaries.score_rows(result["calibration"])))

# %% [markdown]
# ## Which planets stand out?
# The worst first, each with what its own numbers say.

# %%
with displaying("the planets that stand out", "diagnose", out):
    from kitlib.report.diagnostics import rule_table, worst_planets

    worst = [{"planet": one["planet_id"], "why": "; ".join(one["reasons"])} for one in worst_planets(data)]
    display(Table(worst, "No planet stands out."))

# %% [markdown]
# ## Which rules fire where?
# Rules say what spectra may look like, e.g. that depths are positive and spectra no rougher than atmospheres are.
# They are soft: a planet that misses one is listed, not changed. Misses are in each rule's own units.

# %%
with displaying("the rules", "diagnose", out):
    rules = [{"rule": rule["rule"], "planets": len(rule["planets"]), "median miss": rule["median"],
              "largest miss": rule["largest"], "says": rule["text"]} for rule in rule_table(data)]  # fmt: skip
    display(Table(rules, "This run has no rules."))

# %% [markdown]
# ## Residuals and latents
# What the fits leave, by frequency: a flat line at 1 is noise that knows nothing of itself. And the planets as the
# fusion model sees them: neighbours are alike. Both only with `report.heavy`, which is off on Kaggle.

# %%
with displaying("residuals and latents", "diagnose", out):
    heavy = [figure for figure in (figures.power_figure(data), figures.latent_figure(data)) if figure is not None]
    if heavy:
        display(*heavy)
    else:
        print("report.heavy is off: not computed.")
