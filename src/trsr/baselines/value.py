"""How good a baseline is on validation: the mean of recall at 3, 5 and 10, by which every setting is chosen."""

import numpy as np

from trsr.baselines.fitting import Validation
from trsr.data.scoring import Scorer
from trsr.evaluation.metrics import example_parts, recall, tie_runs

RECALL_KS = (3, 5, 10)


def mean_recall(scorer: Scorer, validation: Validation) -> float:
    """Mean over cut-offs and examples; ties count with their expected value."""
    scores = np.concatenate(list(scorer.score(validation.requests)))
    labels = np.concatenate([np.array(example, dtype=np.int8) for example in validation.labels])
    owners = np.repeat(np.arange(len(validation.labels)), [len(example) for example in validation.labels])
    parts = [tie_runs(scores[part], labels[part], owners[part] - owners[part.start]) for part in example_parts(owners)]
    return float(np.mean([np.concatenate([recall(runs, k) for runs in parts]).mean() for k in RECALL_KS]))
