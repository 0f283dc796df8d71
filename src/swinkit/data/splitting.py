"""Holding pictures out of a training set, class by class, the same ones every time."""

from collections.abc import Sequence

import numpy as np


def stratified_split(labels: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split positions 0..len(labels)-1 into (kept, held out), both sorted.

    Each class gives round(fraction * its count) pictures, at least one when it has two or more and fraction >
    0; a class of one picture keeps it. Which pictures is a pure function of (labels, fraction, seed).
    """
    array = np.asarray(labels)
    held: list[int] = []
    for label in np.unique(array):
        members = np.flatnonzero(array == label)
        count = round(fraction * len(members))
        if fraction > 0 and len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        elif len(members) == 1:
            count = 0
        generator = np.random.default_rng((seed, int(label)))
        held += generator.permutation(members)[:count].tolist()
    kept = np.setdiff1d(np.arange(len(array)), np.asarray(held, dtype=np.int64))
    return kept.tolist(), sorted(held)
