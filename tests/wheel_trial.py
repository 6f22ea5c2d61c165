"""Install a wheel in a fresh environment, and use it away from the checkout.

Run by ``make wheel`` as ``python tests/wheel_trial.py WHEEL``: the demo, then a folder of pictures
from ``init`` to the page. Prints what the installation takes, in time and on the disk.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]

PICTURES = """
from pathlib import Path
from PIL import Image, ImageDraw
for number in range(90):
    kind = ("circle", "square", "stripes")[number % 3]
    picture = Image.new("RGB", (80, 60), (200 - number, 90 + number, 120))
    draw = ImageDraw.Draw(picture)
    box = (10 + number % 7, 5, 50 + number % 11, 45)
    if kind == "circle":
        draw.ellipse(box, fill="white")
    elif kind == "square":
        draw.rectangle(box, fill="white")
    else:
        for x in range(number % 5, 80, 12):
            draw.line((x, 0, x, 60), fill="white", width=4)
    path = Path("pictures", kind, f"{number}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
"""


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        bin_ = folder / "env/bin"
        # Nothing that leads back: no PYTHONPATH, no settings of ours.
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "BOTTLENECK", "VIRTUAL_ENV"))
        }

        def run(*command: str | Path, where: Path = folder) -> str:
            done = subprocess.run(
                [*map(str, command)],
                cwd=where,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=1800,
            )
            return done.stdout

        run(sys.executable, "-m", "venv", folder / "env")
        empty = size(folder / "env")
        started = time.monotonic()
        run(bin_ / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", wheel.resolve())
        seconds = time.monotonic() - started
        print(f"installed in {seconds:.0f} s: {(size(folder / 'env') - empty) / 1e9:.2f} GB")

        found = Path(run(bin_ / "python", "-c", "import bottleneck; print(bottleneck.__file__)"))
        assert found.is_relative_to(folder), found
        print(run(bin_ / "bottleneck", "doctor"))

        outcomes = json.loads(run(bin_ / "bottleneck", "demo", "--json"))
        judged = {one["name"]: one["result"] for one in outcomes}
        assert judged["features"]["ok"] == 1000
        print("demo:", {name: one.get("accuracy") for name, one in judged.items()})

        run(bin_ / "python", "-c", PICTURES)
        print(run(bin_ / "bottleneck", "init", "pictures"))
        outcomes = json.loads(run(bin_ / "bottleneck", "run", "pipeline.toml", "--json"))
        judged = {one["name"]: one["result"] for one in outcomes}
        assert judged["features"]["ok"] == 90
        assert judged["judgement"]["accuracy"] > 0.8, judged["judgement"]
        (features,) = folder.glob("*.h5")
        run(bin_ / "bottleneck", "compare", features, "-o", "page.html")
        page = (folder / "page.html").read_text()
        assert "data:image/" in page
        written = [path for path in folder.rglob("*") if path.suffix in (".json", ".toml", ".html")]
        here = [
            path
            for path in written
            if not path.is_relative_to(folder / "env") and str(CHECKOUT) in path.read_text()
        ]
        assert not here, here
        print(f"page: {len(page) / 1e6:.1f} MB; nothing of {CHECKOUT} was used")


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
