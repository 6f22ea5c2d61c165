"""Label images with a deployed ONNX model, without this package: ONNX Runtime and Pillow suffice.

python examples/deployed_client.py model.onnx photo.jpg ...
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def pixels(path, rule):
    """Bring an image to the model's input, by the resize rule in the model's metadata."""
    high, wide = rule["size"] if isinstance(rule["size"], list) else [rule["size"]] * 2
    how = rule["resize"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    (w, h), kind = image.size, Image.Resampling[how["filter"].upper()]
    if how["rule"] == "pad":
        drawn = ImageOps.contain(image, (wide, high), kind)
        canvas = Image.new("RGB", (wide, high), tuple(how["padding"]))
        canvas.paste(drawn, ((wide - drawn.width) // 2, (high - drawn.height) // 2))
        return np.asarray(canvas)
    across, down = (round(side / how.get("ratio", 1)) for side in (wide, high))
    if how["rule"] == "crop":  # the picture covers the frame in its own proportions
        narrow = w * down <= h * across
        across, down = (across, max(down, h * across // w)) if narrow else (w * down // h, down)
    left, top = round((across - wide) / 2), round((down - high) / 2)
    sx, sy = w / across, h / down
    box = (left * sx, top * sy, min((left + wide) * sx, w), min((top + high) * sy, h))
    return np.asarray(image.resize((wide, high), kind, box=box))


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["bottleneck"])
    images = np.stack([pixels(path, about["image"]) for path in sys.argv[2:]])
    label, answers = session.run(["label", about["answer"]], {"images": images})
    for path, name, row in zip(sys.argv[2:], label, answers, strict=True):
        print(f"{path}\t{name}\t{row.max():.4f}")
