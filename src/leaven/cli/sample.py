from __future__ import annotations

from typing import Any

from leaven.cli.command import command

SHOWN = 10  # texts


@command
def sample(samples: Any, options: Any) -> tuple[Any, str]:
    content = {"out": str(options.out), "count": len(samples)}
    if isinstance(samples, list):
        return content | {"texts": samples}, "\n".join([*samples[:SHOWN], f"{options.out}: {len(samples):,} new texts"])
    shape = list(samples.shape[1:])
    return content | {"shape": shape}, f"{options.out}: {len(samples):,} new samples of {' x '.join(map(str, shape))}"
