"""Label images with a deployed model: python examples/deployed_client.py model.onnx a.jpg ..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def pixels(path, rule):
    """Bring an image to the model's input, by the resize rule in the model's metadata."""
    (high, wide), how = np.broadcast_to(rule["size"], 2).tolist(), rule["resize"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    (w, h), kind = image.size, Image.Resampling[how["filter"].upper()]
    if how["rule"] == "pad":  # an odd pixel goes to the right and below
        centre = (0.4999, 0.4999)
        return np.asarray(ImageOps.pad(image, (wide, high), kind, tuple(how["padding"]), centre))
    across, down = (round(side / how.get("ratio", 1)) for side in (wide, high))
    if how["rule"] == "crop":  # the picture covers the frame in its own proportions
        narrow = w * down <= h * across
        across, down = (across, max(down, h * across // w)) if narrow else (w * down // h, down)
    left, top, sx, sy = round((across - wide) / 2), round((down - high) / 2), w / across, h / down
    box = (left * sx, top * sy, min((left + wide) * sx, w), min((top + high) * sy, h))
    return np.asarray(image.resize((wide, high), kind, box=box))


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["bottleneck"])
    images = np.stack([pixels(path, about["image"]) for path in sys.argv[2:]])
    labels, answers = session.run(["label", about["answer"]], {"images": images})
    for path, label, row in zip(sys.argv[2:], labels, answers, strict=True):
        print(f"{path}\t{label}\t{row.max():.4f}")
