"""Which number format this machine is fast in, and memory settings that go with it."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from leaven.errors import UserError

onednn: Any = torch.backends.mkldnn
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
    return cpu_has("amx_bf16") or cpu_has("avx512_bf16")


def cpu_has(instructions: str) -> bool:
    """Whether torch finds them; older versions do not tell."""
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get(instructions))


@contextmanager
def fast_products(device: str, precision: str) -> Iterator[None]:
    """How a CPU multiplies the matrices of a training or an encoding.

    fp32 ones by oneDNN on CPUs whose AVX-512 MKL leaves unused (AMD's): twice as fast, and rounded as before. Attention by a few products of the
    whole batch where oneDNN multiplies: the fused kernel makes so many small ones that it takes two to eight times as long, in bf16 backwards alone.
    """
    with ExitStack() as inside:
        exact = device == "cpu" and onednn_is_exact()
        if exact:
            matmul = onednn.matmul
            inside.callback(setattr, matmul, "fp32_precision", matmul.fp32_precision)
            matmul.fp32_precision = "bf16"
        if (exact and precision == "fp32") or (device == "cpu" and precision == "bf16" and torch.is_grad_enabled()):
            inside.enter_context(sdpa_kernel(SDPBackend.MATH))
            inside.callback(torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp, torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed())
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
        yield


@cache
def onednn_is_exact() -> bool:
    """Whether this CPU multiplies fp32 by oneDNN with all bits where that may round to bf16, as it does with AMX alone: tried on one product."""
    if not cpu_has("avx512_bf16") or cpu_has("amx_bf16") or not hasattr(onednn, "matmul"):
        return False
    matmul = onednn.matmul
    x = torch.linspace(-1, 1, 256 * 256).view(256, 256)
    exact = x.double() @ x.T.double()
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        product = (x @ x.T).double()
    finally:
        matmul.fp32_precision = before
    return bool((product - exact).abs().max() < 2e-5 * exact.abs().max())  # from bf16 they would be some 5e-4 off


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
