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
# # 4. Diagnose: scores and report
#
# The official score where the truth is known, how honest the error bars are, and one self-contained HTML page.

# %% [markdown]
# `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`, or one string
# of them. The kit must be installed: `make` does that here, and on Kaggle the cell that `build_kernel.py kernel` puts
# first.

# %% tags=["parameters"]
overrides: list = []

# %%
from kitlib import pipeline
from kitlib.__main__ import score_text
from kitlib.base.config import compose
from kitlib.base.paths import environment
from kitlib.run.notebook import displaying, words_of

config = compose("diagnose", [f"env={environment()}", *words_of(overrides)])
result = pipeline.diagnose(config)
out = result["submission"].parent
print(score_text(result["scores"]) if result["scores"] else "The truth is not known: no scores.")
print(f"submission  {result['submission']}\nreport      {result['report']}")

# %% [markdown]
# ## Two planets: light curves with fit and residuals, recovered spectrum

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
# Coverage, quantiles and probability integral transform of FGS1, of the AIRS bins, of their level and of their shape;
# by detector, star, visits and contacts; where the truth is known.

# %%
with displaying("the reliability of sigma", "diagnose", out):
    from kitlib.report import calibration_text

    if data.truth is not None:
        print(calibration_text(result["calibration"]))
        display(figures.reliability_figure(data))

# %% [markdown]
# ## Where is the score lost?
# Accuracy part: what the same errors would score if sigma were multiplied by the best factor, one a planet in AIRS.

# %%
with displaying("the score", "diagnose", out):
    if data.truth is not None:
        display(figures.score_figure(data))

# %% [markdown]
# ## Which rules fire where?
# Violations in each rule's own units; the page lists the planets.

# %%
with displaying("the rules", "diagnose", out):
    from kitlib.report.diagnostics import rule_table

    for rule in rule_table(data):
        print(f"{rule['rule']:<16}{len(rule['planets']):>4} planets, largest {rule['largest']:.2g}   {rule['text']}")

# %% [markdown]
# ## Residuals and latents
# With `report.heavy` (off on Kaggle): Fourier power of the residuals, and the planets as the fusion model sees them.

# %%
with displaying("residuals and latents", "diagnose", out):
    for figure in (figures.power_figure(data), figures.latent_figure(data)):
        if figure is not None:
            display(figure)
