from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def score(likelihoods: Any, options: Any) -> tuple[Any, str]:
    content = likelihoods.to_dict()
    lines = [f"{content['what']}, in nats per sample:"]
    for name, part in (content["splits"] or {"all": content}).items():
        low, high = part["interval"] or (part["nats"],) * 2
        nats = f"{part['nats']:.2f} ({low:.2f} to {high:.2f})"
        bits = f"{part['bits_per_value']:.3f} bits per value" if "perplexity" not in part else f"perplexity {part['perplexity']:.1f} per token"
        lines.append(f"  {name:8} {nats:28} {bits}   {part['samples']:,} samples")
    lines += ["Least likely:", *(f"  {sample['nats']:10.2f}  {sample['file']}" for sample in content["least_likely"][:5])]
    places = {name: None if path is None else str(path) for name, path in (("out", options.out), ("sheet", options.sheet))}
    return {**places, **content}, "\n".join(lines)
