#!/usr/bin/env python3
"""Makes the bundled digits (host-trainer/data/digits/) from the full MNIST set.

    tools/make_digits.py MNIST_DIR [OUT_DIR]

MNIST_DIR holds the four official files, gzipped or plain. From the official training set 1,200 images of each class are
taken, from the official test set 200 of each class, so nothing of one set can end up in the other. Of the `found` images
of a class, in the order of the file, the one at `i * found // wanted` is taken for each `i < wanted`: evenly spaced, because
the files are ordered by writer, and the two halves of the test set come from groups of writers that are not equally easy
to read. The images keep their order.

Only Python's standard library is needed. The same input gives the same output: no randomness, no time stamp, no file name.
(The compressed bytes also depend on the deflate library that Python was built with; the decompressed ones do not.)
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

CLASSES = 10
IMAGES_MAGIC = 0x00000803
LABELS_MAGIC = 0x00000801
# (files' prefix, images taken per class)
SETS = [("train", 1200), ("t10k", 200)]


def read_idx(directory: Path, name: str, magic: int) -> tuple[tuple[int, ...], bytes]:
    """The dimensions and the bytes of an IDX file, gzipped or plain."""
    path = directory / name
    if path.exists():
        data = path.read_bytes()
    else:
        path = directory / (name + ".gz")
        if not path.exists():
            sys.exit(f"{directory}: found neither {name} nor {name}.gz")
        data = gzip.decompress(path.read_bytes())
    rank = magic & 0xFF
    header = 4 + 4 * rank
    if len(data) < header:
        sys.exit(f"{path}: {len(data)} bytes are too few for a header of {header}")
    found, *dimensions = struct.unpack(f">{1 + rank}I", data[:header])
    if found != magic:
        sys.exit(f"{path}: magic number {found:#010x}, expected {magic:#010x}")
    length = 1
    for dimension in dimensions:
        length *= dimension
    if len(data) != header + length:
        sys.exit(f"{path}: {len(data)} bytes, expected {header + length}")
    return tuple(dimensions), data[header:]


def choose(labels: bytes, per_class: int) -> list[int]:
    """The indices of `per_class` evenly spaced images of each class, ascending."""
    chosen = []
    for digit in range(CLASSES):
        of_class = [index for index, label in enumerate(labels) if label == digit]
        if len(of_class) < per_class:
            sys.exit(f"class {digit} has {len(of_class)} images, {per_class} are wanted")
        chosen += [of_class[i * len(of_class) // per_class] for i in range(per_class)]
    return sorted(chosen)


def write_gzip(path: Path, data: bytes) -> int:
    """Writes `data` gzipped, without name or time; returns the compressed length."""
    with open(path, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as stream:
            stream.write(data)
    length = path.stat().st_size
    print(f"{path.name}: {length} bytes; decompressed {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    return length


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    mnist = Path(sys.argv[1])
    default = Path(__file__).resolve().parent.parent / "host-trainer" / "data" / "digits"
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else default
    out.mkdir(parents=True, exist_ok=True)
    total = 0
    for prefix, per_class in SETS:
        (count, height, width), pixels = read_idx(mnist, f"{prefix}-images-idx3-ubyte", IMAGES_MAGIC)
        (label_count,), labels = read_idx(mnist, f"{prefix}-labels-idx1-ubyte", LABELS_MAGIC)
        if count != label_count:
            sys.exit(f"{mnist}: {count} {prefix} images, but {label_count} labels")
        chosen = choose(labels, per_class)
        size = height * width
        images = struct.pack(">4I", IMAGES_MAGIC, len(chosen), height, width)
        images += b"".join(pixels[i * size : (i + 1) * size] for i in chosen)
        names = struct.pack(">2I", LABELS_MAGIC, len(chosen)) + bytes(labels[i] for i in chosen)
        total += write_gzip(out / f"{prefix}-images-idx3-ubyte.gz", images)
        total += write_gzip(out / f"{prefix}-labels-idx1-ubyte.gz", names)
    print(f"total: {total} bytes")


if __name__ == "__main__":
    main()
