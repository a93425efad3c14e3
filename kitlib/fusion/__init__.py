"""The fusion model: what it sees, what it is made of, how it is trained.

In: posteriors, catalogue rows and fitted series. Out: the same posteriors, corrected in mean and sigma.
Read in this order: features (what it sees), ssm (Mamba-2 block), fused (mamba_ssm's, where it is right and faster),
encoders (FGS1, AIRS, wavelength graph), model (late fusion), losses, train, ensemble (several models as one).
"""

from .ensemble import matched, out_of_fold
from .features import Features, airs_residuals, features_of, fit_inputs, make_shards, no_inputs, read_shards, write_set
from .losses import Loss
from .model import Fusion, load_model, predict
from .train import TrainError, train_folds, train_one

__all__ = [
    "Features",
    "Fusion",
    "Loss",
    "TrainError",
    "airs_residuals",
    "features_of",
    "fit_inputs",
    "load_model",
    "make_shards",
    "matched",
    "no_inputs",
    "out_of_fold",
    "predict",
    "read_shards",
    "train_folds",
    "train_one",
    "write_set",
]
