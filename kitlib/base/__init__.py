"""Words that every room uses: each file is imported by its own name, from anywhere.

In and out: nothing flows here. Read in this order: instruments (constants of FGS1 and AIRS-CH0), products (what flows
from stage to stage), schema (every key), values and keytable (what a key may be, which stage reads it), helptext,
config and configfiles (composition), paths, provenance (manifests, events, atomic writes), execution, guarded and
cluster (work in processes, here or on other machines), folds, compiled (inner loops), version.
"""
