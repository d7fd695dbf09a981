#!/usr/bin/env python3
"""Writes WAV files of a minute of noise each, at 8 kHz, for `smidgen listen`: `tools/noise.py DIR`. What is heard in them is heard in nothing."""

import array
import math
import pathlib
import random
import sys
import wave

RATE, SECONDS = 8000, 60
COUNT = RATE * SECONDS


def pink(source, amplitude):
    """Paul Kellet's filter over white noise: three poles and the noise itself."""
    state = [0.0] * 3
    for _ in range(COUNT):
        white = source.gauss(0, 1)
        for index, (pole, gain) in enumerate([(0.99765, 0.0990460), (0.96300, 0.2965164), (0.57000, 1.0526913)]):
            state[index] = pole * state[index] + white * gain
        yield amplitude * 0.5 * (sum(state) + white * 0.1848)


def hum(source):
    """A mains hum of 50 Hz with its third harmonic."""
    for n in range(COUNT):
        turn = 2 * math.pi * n / RATE
        yield 400 * math.sin(50 * turn) + 150 * math.sin(150 * turn) + source.gauss(0, 20)


def knocks(source):
    """Every 0.6 s a tone of 200 to 700 Hz that fades within 15 ms."""
    for n in range(COUNT):
        place, tone = n % 5000, 200 + n // 5000 * 37 % 500
        yield 2000 * math.exp(-place / 120) * math.sin(2 * math.pi * tone * n / RATE) + source.gauss(0, 30)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(5)
    sounds = {"silence": (0 for _ in range(COUNT))}
    for name, amplitude in [("quiet", 30), ("middle", 300), ("loud", 3000)]:
        sounds[f"white-{name}"] = [source.gauss(0, amplitude) for _ in range(COUNT)]
        sounds[f"pink-{name}"] = list(pink(source, amplitude))
    sounds |= {"hum": hum(source), "knocks": knocks(source)}
    for name, samples in sounds.items():
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(array.array("h", (max(-32768, min(32767, int(sample))) for sample in samples)).tobytes())


if __name__ == "__main__":
    main()
