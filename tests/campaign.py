"""The campaign that all test processes share: few planets, few frames. conftest.py simulates it."""

FRAMES = ["simulate.airs_pairs=125", "simulate.fgs1_pairs=1500"]
SIZES = ["data=sim_tiny", "run.seed=5", "simulate.train_planets=12", "simulate.test_planets=8", *FRAMES]
