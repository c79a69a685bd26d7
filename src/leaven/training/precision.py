"""Which number format this machine is fast in, and memory settings that go with it."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Value
from leaven.errors import UserError

NAMES = {"fp32": "32-true", "bf16": "bf16-mixed", "fp64": "64-true"}


def choose_precision(wanted: str, device: str) -> tuple[str, str]:
    """The precision and why: bf16 where the hardware multiplies it, else fp32. `wanted` may be auto, fp32, bf16 or fp64."""
    if wanted != "auto":
        if wanted not in NAMES:
            raise UserError(f"no precision is named {wanted!r}", hint=f"choose auto, {', '.join(NAMES)}")
        return wanted, "asked for"
    if device == "cuda":
        return ("bf16", "this GPU multiplies bf16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp32", "this GPU has no bf16")
    if device == "cpu" and cpu_multiplies_bf16():
        return "bf16", "this CPU multiplies bf16 (AMX or AVX512-BF16)"
    return "fp32", f"this {device.upper()} has no fast bf16"


def cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def keep_freed_memory() -> None:
    """Ask glibc to keep large freed blocks instead of giving each back to the system, which costs a page fault for every 4 KB at the next use."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, -1)  # never


def give_back_memory() -> None:
    """Give the system what `keep_freed_memory` kept, when the work that it was kept for has ended."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def in_double(tree: Any) -> Any:
    """A nesting of views with every floating-point tensor in float64, for runs at that precision."""
    if isinstance(tree, Tensor):
        return tree.double() if tree.is_floating_point() else tree
    if isinstance(tree, Value):
        return tree.map(in_double)
    if isinstance(tree, dict):
        return {name: in_double(part) for name, part in tree.items()}
    return [in_double(part) for part in tree] if isinstance(tree, list | tuple) else tree
