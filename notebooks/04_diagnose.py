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
# `overrides` takes the same words as the command line, e.g. `["data=sim_tiny", "run.out=artifacts/run"]`. The kit must
# be installed: `make` does that here, and on Kaggle the cell that `build_kernel.py kernel` puts first.

# %% tags=["parameters"]
overrides: list = []

# %%
from IPython.display import display

from kitlib import pipeline
from kitlib.__main__ import score_text
from kitlib.config import compose
from kitlib.paths import environment
from kitlib.report import figures

config = compose("diagnose", [f"env={environment()}", *overrides])
result = pipeline.diagnose(config)
print(score_text(result["scores"]) if result["scores"] else "The truth is not known: no scores.")
print(f"submission  {result['submission']}\nreport      {result['report']}")

# %% [markdown]
# ## Two planets: light curves with fit and residuals, recovered spectrum

# %%
data = result["data"]
shown = list(dict.fromkeys(panel.planet_id for panel in data.panels))[:2]
for planet in shown:
    display(figures.light_curve_figure(data, planet), figures.spectrum_figure(data, planet))

# %% [markdown]
# ## Are the error bars honest?
# Coverage and error over sigma of FGS1, of the AIRS level and of the AIRS shape, where the truth is known.

# %%
if data.truth is not None:
    display(figures.reliability_figure(data))
