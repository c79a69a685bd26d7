"""Training speed from the decoded cache and with decoding on the fly, in turn, on the same pictures.

    uv run python benchmarks/decoding.py --data tiny-imagenet-20 --size 64 [--rounds 3] [--steps 20]

The first opening of each kind decodes every picture once; the script prints that time too.
"""

import argparse
import os
import statistics
import tempfile
import time

from throughput import BATCH, leaven_rate

from leaven.data import open_data
from leaven.encoders import choose_encoder
from leaven.training.build import input_of
from leaven.training.devices import choose_device
from leaven.training.precision import choose_precision, keep_freed_memory

ARMS = {"decoded cache": "100GB", "on the fly": "0"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="tiny-imagenet-20")
    parser.add_argument("--data-root")
    parser.add_argument("--size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    precision, _ = choose_precision("auto", device)
    keep_freed_memory()
    opened, rates = {}, {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory() as cache:
        for name, limit in ARMS.items():
            os.environ["LEAVEN_CACHE_LIMIT"] = limit
            clock = time.perf_counter()
            opened[name] = open_data(arguments.data, root=arguments.data_root, size=arguments.size, cache_dir=cache)
            print(f"{name}: opened {len(opened[name]):,} pictures in {time.perf_counter() - clock:.1f} s", flush=True)
        encoder, _ = choose_encoder(input_of(opened["on the fly"].spec.roles["x"], arguments.size), "features", device)
        for number in range(arguments.rounds):
            for name, data in opened.items():
                rates[name].append(leaven_rate(data, device, precision, encoder, arguments.steps))
                print(f"round {number + 1}  {name:13} {rates[name][-1]:7.0f} samples per second", flush=True)
    ratio = statistics.median(fly / kept for kept, fly in zip(*rates.values(), strict=True))
    print(f"\n{encoder}, {precision}, batch {BATCH}, {device}\n\n| arm | samples per second (median) |\n|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):.0f} |")
    print(f"\nOn the fly is {ratio:.2f}x the decoded cache.")


if __name__ == "__main__":
    main()
