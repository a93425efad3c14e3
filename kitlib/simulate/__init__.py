"""The simulated observatory: systems, spectra, light curves and frames in the competition's own file layout.

Nothing of the solver is imported here, and the solver imports nothing from here: both know `kitlib.instruments`,
`kitlib.products` and the files, and nothing else of each other.
"""
