"""How files end that hold images, labels or other things: the one list of them."""

import os

_IMAGES = (
    *("apng", "avif", "bmp", "dib", "gif", "heic", "heif", "j2k", "jfif", "jp2", "jpe"),
    *("jpeg", "jpg", "jpx", "pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
)

IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _IMAGES)
"""Files with these endings (in any case) are taken for images when a folder is listed."""

ENDINGS_HINT = f"Files are taken for images by their ending: {' '.join(sorted(IMAGE_SUFFIXES))}"

LABEL_SUFFIXES = (".cls", ".json", ".txt")
"""Files (in any case) that may name the class of the image of the same name, the first first."""

CONTAINER_ENDINGS = {
    "CSV": ("csv", "tsv", "txt"),
    "JSON lines": ("jsonl", "ndjson"),
    "tar": ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "tgz", "tbz", "tbz2", "txz"),
    "zip": ("zip",),
    "HDF5": ("h5", "hdf", "hdf5"),
    "NPZ": ("npz",),
    "NPY": ("npy",),
    "Parquet": ("parquet", "pq"),
    "TFRecord": ("tfrecord", "tfrecords"),
}
"""Endings of tables and containers, by the name of their kind."""

_UNPACK = "Unpack it, and give the folder; or pack the images as .zip or .tar."
_FRAMES = "Take frames out of it first: ffmpeg -i {name} frames/%06d.png"
_CONVERT = "Convert it to PNG or TIFF first."
_AS_NPZ = "Save the arrays as .npz: numpy.savez(path, images=x, labels=y), images first, uint8."

WHAT_TO_DO = {
    **dict.fromkeys(("7z", "rar", "gz", "bz2", "xz", "zst", "lz4", "iso", "dmg", "cab"), _UNPACK),
    **dict.fromkeys(("mp4", "avi", "mov", "mkv", "webm", "mpg", "mpeg", "m4v", "wmv"), _FRAMES),
    **dict.fromkeys(
        ("svg", "pdf", "eps", "ai", "psd", "xcf", "jxl", "ico", "dcm", "nii", "nrrd", "exr", "hdr",
         "cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "svs", "ndpi", "mrxs", "czi", "fits"),
        _CONVERT,
    ),
    **dict.fromkeys(("mat", "pkl", "pickle", "pt", "pth", "joblib", "rds", "mdb"), _AS_NPZ),
    **dict.fromkeys(("xls", "xlsx", "ods", "numbers"), "Save the table as CSV."),
    **dict.fromkeys(
        ("arrow", "feather"), "Write it as Parquet: dataset.to_parquet(path) in Hugging Face's."
    ),
    "json": "Give a table: .csv or .jsonl with a column 'path' and one for the class.",
    "xml": "Give a table: .csv or .jsonl with a column 'path' and one for the class.",
    "yaml": "Give the folder of images that it speaks of.",
    "yml": "Give the folder of images that it speaks of.",
    "md": "Give the folder that it lies in.",
    "lnk": "Give what the shortcut leads to.",
    "url": "Give the address itself.",
}  # fmt: skip
"""What to do with files of other kinds, by their ending; ``{name}`` stands for the file."""


def suffix(name: str) -> str:
    """Return the ending of a file's name with its dot, in lower case; empty for none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # called a million times
