"""Reads the event files that tests/suite/tensorboard.rs writes with TensorBoard's own loader, and checks what it finds.

DEEPSIGHT_KEEP_EVENTS=FOLDER cargo test -p deepsight-train --no-default-features --test suite tensorboard
python load.py FOLDER   (tensorboard 2.21, in a folder that held nothing before)
"""

import io
import sys

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.pr_curve import plugin_data_pb2
from tensorboard.util import tensor_util


def main(folder: str) -> None:
    events = EventAccumulator(folder, size_guidance={"tensors": 0, "scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["scalars"] == ["loss/train"] and tags["images"] == ["samples/first"], tags
    scalars = [(event.step, round(event.value, 6)) for event in events.Scalars("loss/train")]
    # The resumed run's restart at step 4 takes steps 4 and 5 of the first one away.
    assert scalars == [(1, 1.0), (2, 0.5), (3, 0.333333), (4, 9.0)], scalars

    image = events.Images("samples/first")[0]
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert (image.step, image.width, image.height) == (2, 6, 4)
    assert all((pixels[y, x] == [40 * x, 60 * y, 7]).all() for x in range(6) for y in range(4))

    text = tensor_util.make_ndarray(events.Tensors("settings")[0].tensor_proto)
    assert events.SummaryMetadata("settings").plugin_data.plugin_name == "text"
    assert text.item().decode().startswith("| epochs | 20 |"), text

    metadata = events.SummaryMetadata("val/faces").plugin_data
    assert metadata.plugin_name == "pr_curves"
    assert plugin_data_pb2.PrCurvePluginData.FromString(metadata.content).num_thresholds == 201
    curve = tensor_util.make_ndarray(events.Tensors("val/faces")[0].tensor_proto)
    assert curve.shape == (6, 201), curve.shape
    # tp, fp, tn, fn, precision, recall from thresholds 0, 0.5 and 1 on.
    np.testing.assert_allclose(curve[:, 0], [2, 2, 0, 0, 0.5, 1])
    np.testing.assert_allclose(curve[:, 100], [1, 1, 1, 1, 0.5, 0.5])
    np.testing.assert_allclose(curve[:, 200], [0, 0, 2, 2, 0, 0])
    print("tensorboard reads scalars, image, text and PR curve as written")


if __name__ == "__main__":
    main(sys.argv[1])
