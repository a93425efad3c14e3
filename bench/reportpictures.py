"""The pictures of `figures.py` that show what the report shows: its own figures, of one simulated planet."""

import numpy as np
from screenshot import Placed, Sheet
from subjects import Subject

from kitlib.base.instruments import AIRS, FGS1
from kitlib.report import planetcharts, stagecharts
from kitlib.report.drawing import Spec
from kitlib.report.planetcharts import Beside

_SHOWN = ((planetcharts.mean_frame, "mean frame"), (planetcharts.weight_map, "weights in the light curve"))


def _spectrum(subject: Subject, beside: Beside) -> Spec:
    answer, _ = subject.fit
    return planetcharts.spectrum(subject.wavelengths_um, answer.mean, np.sqrt(np.diag(answer.cov)), beside)


def hero(subject: Subject) -> Sheet:
    """A pair of raw frames, the light curve with its fit, the spectrum with its error bars and the truth."""
    first, last = subject.airs.raw_adu(subject.airs.signal.n_pairs // 2)
    frame = stagecharts.raw_pair(last - first, AIRS)
    (curve,) = (one for one in subject.fit[0].curves if one.instrument == AIRS.name)
    figures = [
        Placed(frame, (0, 0, 450, 180), "1  a pair of raw frames, AIRS-CH0"),
        Placed(planetcharts.light_curve(curve), (0, 190, 450, 370), "2  AIRS' light curve with its fit"),
        Placed(_spectrum(subject, Beside(subject.truth)), (455, 0, 545, 560), "3  the transmission spectrum"),
    ]
    return Sheet(figures, (1000, 560))


def instruments(subject: Subject) -> Sheet:
    """Mean frames of both instruments, and what their pixels count for."""
    (visit,) = subject.curves.visits
    figures = []
    for row, name in enumerate((AIRS.name, FGS1.name)):
        frame = visit[name].frame
        if frame is None:
            raise RuntimeError(f"{name}: the light curve came without its mean frame")
        for column, (made, words) in enumerate(_SHOWN):
            where = (500 * column, 240 * row, 500, 240)
            figures.append(Placed(made(frame, subject.wavelengths_um), where, f"{name}: {words}"))
    return Sheet(figures, (1000, 480))


def posterior(subject: Subject) -> Sheet:
    """One spectrum: by the light curves alone, as the prior expects it, and by both."""
    known = subject.fit[0].shown
    beside = Beside(subject.truth, np.asarray(known["measured"], float), np.asarray(known["prior_shape"], float))
    return Sheet([Placed(_spectrum(subject, beside), (0, 0, 1000, 520))], (1000, 520))
