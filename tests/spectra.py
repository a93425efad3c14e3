"""The bins' wavelengths and the population's statistics that tests of made-up spectra share."""

import numpy as np

WL = np.concatenate([[0.7], np.linspace(1.952, 3.895, 282)])  # (283,) um, about those of wavelengths.csv
NAIVE = (0.0146, 0.0106)  # naive mean and sigma of the real training targets
