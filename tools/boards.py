#!/usr/bin/env python3
"""Builds the images for boards (firmware/boards) and holds their sections against the memory map beside each: flash, RAM, and a stack below the statics.

`tools/boards.py --write` also writes the table of sections in firmware/boards/README.md."""

import pathlib
import re
import struct
import subprocess
import sys

BOARDS = pathlib.Path(__file__).resolve().parent.parent / "firmware" / "boards"
NAMES = ["microbit-v2", "nrf52840-dk", "nucleo-f446re", "pico", "pico-2"]
TABLE = ("<!-- tools/boards.py --write -->\n", "<!-- end -->")
# What an application takes of the stack, with room: an inference takes 1.1 KB, an interrupt on top of it less.
STACK_BYTES = 8 * 1024
ALLOCATED, NO_BITS = 2, 8


def memory_map(board):
    """Start and length of each region of memory.x."""
    text = (BOARDS / board / "memory.x").read_text()
    number = lambda term: int(term[:-1]) * 1024 if term.endswith("K") else int(term, 0)
    regions = {}
    for name, start, length in re.findall(r"^\s*(\w+) : ORIGIN = (\w+), LENGTH = (.+)$", text, re.M):
        first, *rest = [number(term.strip()) for term in length.split(" - ")]
        regions[name] = (number(start), first - sum(rest))
    return regions


def sections(image):
    """Address, length, content (None where there is none) and name of what is loaded."""
    (table,) = struct.unpack_from("<I", image, 32)
    entry, count, names = struct.unpack_from("<HHH", image, 46)
    headers = [struct.unpack_from("<10I", image, table + index * entry) for index in range(count)]
    for name, kind, flags, address, offset, size, *_ in headers:
        if flags & ALLOCATED and size:
            start = headers[names][4] + name
            text = image[start : image.index(0, start)].decode()
            yield address, size, None if kind == NO_BITS else image[offset : offset + size], text


def check(image, regions):
    """What an image takes of each of these memories, where its stack begins, and what is wrong with it."""
    used = dict.fromkeys(regions, 0) | {"code": 0, "constants": 0}
    statics, wrong = [], []
    for address, size, content, name in sections(image):
        inside = [region for region, (start, length) in regions.items() if start <= address and address + size <= start + length]
        if not inside:
            wrong.append(f"{name} at {address:#x} with {size} bytes is in no memory")
            continue
        used[inside[0]] += size
        used["code"] += size if name == ".text" else 0
        used["constants"] += size if name == ".rodata" else 0
        if inside[0] == "RAM":
            statics.append(address)
            # First values are in the flash, too.
            used["FLASH"] += size if content is not None else 0
        if name == ".vector_table":
            (stack,) = struct.unpack_from("<I", content)
    for region, (_, length) in regions.items():
        if used[region] > length:
            wrong.append(f"{used[region]} bytes of {region}, there are {length}")
    start, _ = regions["RAM"]
    if stack > min(statics):
        wrong.append(f"the stack begins at {stack:#x}, above the statics at {min(statics):#x}: not linked by flip-link")
    if stack - start < STACK_BYTES:
        wrong.append(f"{stack - start} bytes of stack, expected at least {STACK_BYTES}")
    return used, stack, wrong


def control(image, regions, used, stack):
    """What is wrong with the check itself: it has to complain of memories that are a byte too small for this image."""
    start, length = regions["RAM"]
    end = start + length
    first = stack - STACK_BYTES + 1
    too_small = {"FLASH": (regions["FLASH"][0], used["FLASH"] - 1), "RAM": (first, end - first)}
    return [f"the check finds nothing wrong with too small a {name}" for name, region in too_small.items() if not check(image, regions | {name: region})[2]]


def write(rows):
    """Puts the table between its marks."""
    path = BOARDS / "README.md"
    before, rest = path.read_text().split(TABLE[0])
    heading = ["board", "code", "constants, the model among them", "flash in all", "RAM, without the stack"]
    lines = ["| " + " | ".join(row) + " |" for row in [heading, ["---"] * len(heading), *rows]]
    path.write_text(before + TABLE[0] + "\n".join(lines) + "\n" + TABLE[1] + rest.split(TABLE[1], 1)[1])


def main():
    is_written = "--write" in sys.argv
    names = [name for name in sys.argv[1:] if name != "--write"] or NAMES
    failed, rows = False, []
    for board in names:
        build = subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", BOARDS / "target"], cwd=BOARDS / board)
        if build.returncode:
            sys.exit(f"{board}: does not build")
        config = (BOARDS / board / ".cargo" / "config.toml").read_text()
        (target,) = re.findall(r'^target = "(.+)"$', config, re.M)
        image = (BOARDS / "target" / target / "release" / board).read_bytes()
        regions = memory_map(board)
        used, stack, wrong = check(image, regions)
        wrong = wrong or control(image, regions, used, stack)
        flash = f"{used['FLASH']:7} of {regions['FLASH'][1]} bytes of flash"
        print(f"{board:14} {flash}, {used['RAM']:6} of {regions['RAM'][1]} of RAM, the rest is stack")
        figures = [used["code"], used["constants"], used["FLASH"], used["RAM"]]
        rows.append([f"`{board}`", *(f"{figure:,}" for figure in figures)])
        for line in wrong:
            print(f"{board}: {line}", file=sys.stderr)
        failed |= bool(wrong)
    if is_written:
        write(rows)
    sys.exit(failed)


if __name__ == "__main__":
    main()
