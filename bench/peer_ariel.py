"""A visit through the published package `ariel-data-preprocessing`, with its own options, in its own environment.

    PEER/bin/python bench/peer_ariel.py DATA_ROOT        then one line "go" a repetition on standard input

Its only working setting for AIRS and FGS1 together is `downsample_fgs=True`, which drops 11 of 12 FGS1 frames; all else
is its default. It wants a folder train/PLANET with both instruments.
"""

import json
import resource
import sys
import tempfile
import time

from ariel_data_preprocessing.data_preprocessing import DataProcessor

for _ in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        DataProcessor(input_data_path=sys.argv[1], output_data_path=out, n_planets=1, downsample_fgs=True).run()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_gib": after.ru_maxrss / 2**20}), flush=True)
