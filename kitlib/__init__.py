"""SpectraMind V50: exoplanet transmission spectra with calibrated error bars from Ariel's raw frames."""

__version__ = "0.1.0"
