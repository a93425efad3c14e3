"""The simulated observatory: a campaign in the competition's own file layout, and light curves without frames.

In: `SimulateConfig` and a seed. Out: raw frames, tables and the true spectra. It shares nothing with the solver but
`base`. Read in this order: systems (stars and orbits), optics, molecules (published constants), opacities, spectra
(atmospheres), visits (pointing, drift, gaps), worlds (what nobody knows of all this), detector, exposure (one visit's
frames), observatory (the whole campaign), residue (what calibration leaves of a world), lightcurves (the same physics,
no frames).
"""

from .lightcurves import simulate_lightcurves
from .observatory import simulate_campaign
from .optics import wavelengths_um
from .spectra import TRAINING, draw_spectra, random_chemistry
from .systems import draw_systems, observed_catalogue
from .visits import draw_visits
from .worlds import OWN, WorldDraw, catalogue_factors, draw_world, draw_worlds, with_grazing

__all__ = [
    "OWN",
    "TRAINING",
    "WorldDraw",
    "catalogue_factors",
    "draw_spectra",
    "draw_systems",
    "draw_visits",
    "draw_world",
    "draw_worlds",
    "observed_catalogue",
    "random_chemistry",
    "simulate_campaign",
    "simulate_lightcurves",
    "wavelengths_um",
    "with_grazing",
]
