"""What scikit-learn makes of scores: the golden values that tests/suite/metrics.rs holds the metrics against.

python deepsight-train/tests/suite/metrics/export.py   (scikit-learn 1.9, numpy 2.4, scipy 1.17)
"""

import json
import pathlib

import numpy as np
from scipy.interpolate import interp1d
from scipy.optimize import brentq, minimize_scalar
from sklearn import metrics as sk

BINS = 15


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def ece(y, p):
    """Guo et al. 2017 for the probability of the positive class, with bins [k / 15, (k + 1) / 15)."""
    which = np.minimum((p * BINS).astype(int), BINS - 1)
    return sum(abs(p[which == b].mean() - y[which == b].mean()) * (which == b).mean() for b in np.unique(which))


def measured(y, p, threshold, weight=None):
    called = (p >= threshold).astype(int)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        y, called, labels=[0, 1], sample_weight=weight, zero_division=np.nan
    )
    matrix = sk.confusion_matrix(y, called, labels=[0, 1], sample_weight=weight)
    out = {
        "accuracy": sk.accuracy_score(y, called, sample_weight=weight),
        "real_precision": precision[0],
        "real_recall": recall[0],
        "real_f1": f1[0],
        "fake_precision": precision[1],
        "fake_recall": recall[1],
        "fake_f1": f1[1],
        "log_loss": sk.log_loss(y, p, labels=[0, 1], sample_weight=weight),
        "brier": sk.brier_score_loss(y, p, sample_weight=weight, pos_label=1),
        "expected_calibration_error": ece(y, p),
        "false_positive_rate": matrix[0, 1] / matrix[0].sum() if matrix[0].sum() else np.nan,
    }
    if len(set(y)) == 2:
        fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False, sample_weight=weight)
        out |= {
            "balanced_accuracy": sk.balanced_accuracy_score(y, called, sample_weight=weight),
            "auc": sk.roc_auc_score(y, p, sample_weight=weight),
            "average_precision": sk.average_precision_score(y, p, sample_weight=weight),
            "equal_error_rate": brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1, xtol=1e-15),
            "tpr_at_fpr_0.01": tpr[fpr <= 0.01 + 1e-12].max(),
            "tpr_at_fpr_0.001": tpr[fpr <= 0.001 + 1e-12].max(),
        }
    return {name: None if np.isnan(value) else float(value) for name, value in out.items()}, matrix.tolist()


def case(name, videos, y, logits, threshold):
    """Faces in order; a video is its name and label."""
    y, logits = np.asarray(y), np.asarray(logits, dtype=float)
    p = sigmoid(logits)
    faces, faces_matrix = measured(y, p, threshold)
    keys = sorted(set(zip(videos, 1 - y)))  # fakes' labels sort after reals' in any case: only the values matter
    rows = [[i for i, key in enumerate(zip(videos, 1 - y)) if key == k] for k in keys]
    vy, vp = np.array([y[r[0]] for r in rows]), np.array([p[r].mean() for r in rows])
    by_video, videos_matrix = measured(vy, vp, threshold)
    out = {
        "name": name, "threshold": threshold, "videos": list(videos), "labels": y.tolist(), "logits": logits.tolist(),
        "of_faces": {"metrics": faces, "confusion": faces_matrix},
        "of_videos": {"metrics": by_video, "confusion": videos_matrix},
        "report": sk.classification_report(
            y, p >= threshold, labels=[0, 1], target_names=["real", "fake"], digits=4, zero_division=0
        ),
    }
    if len(set(y)) == 2:
        fpr, tpr, thresholds = sk.roc_curve(y, p)
        precision, recall, cuts = sk.precision_recall_curve(y, p)
        out["roc"] = {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "thresholds": thresholds[1:].tolist()}
        out["pr"] = {"precision": precision.tolist(), "recall": recall.tolist(), "thresholds": cuts.tolist()}
        weight = np.zeros(len(y))
        for r in rows:
            weight[r] = 1 / (len(r) * (vy == y[r[0]]).sum())
        loss = lambda log_t: sk.log_loss(y, sigmoid(logits / np.exp(log_t)), sample_weight=weight)
        best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-12})
        out["temperature"] = {"at": float(np.exp(best.x)), "loss": float(best.fun)}
    return out


def main():
    random = np.random.default_rng(7)
    cases = []
    y = random.integers(0, 2, 400)
    logits = random.normal(1.6 * (2 * y - 1), 2.0)
    cases.append(case("spread", [f"v{i % 37}" for i in range(400)], y, logits, 0.5))
    cases.append(case("tied", [f"v{i % 23}" for i in range(300)], y[:300], np.round(logits[:300]), 0.6))
    y = np.r_[np.zeros(240, int), np.ones(60, int)]
    logits = random.normal(0.8 * (2 * y - 1), 1.0) * 4
    cases.append(case("skewed and too sure", [f"v{int(i / 7)}" for i in range(300)], y, logits, 0.9))
    cases.append(case("saturated", list("aabbccdd"), [0, 0, 1, 1, 0, 1, 0, 1], [-800, 60, 800, -60, 0, 0, 40, 40], 0.5))
    cases.append(case("nothing called fake", list("abcd"), [0, 0, 1, 1], [-3, -2, -1, -0.5], 0.5))
    cases.append(case("separated", list("aabb"), [0, 0, 1, 1], [-3, -2, 1, 0.5], 0.5))
    cases.append(case("all wrong", list("abab"), [1, 1, 0, 0], [-3, -2, 1, 0.5], 0.5))
    cases.append(case("only reals", list("aab"), [0, 0, 0], [-3, 2, 1], 0.5))
    cases.append(case("only fakes", list("aab"), [1, 1, 1], [-3, 2, 1], 0.5))
    path = pathlib.Path(__file__).with_name("expected.json")
    path.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
