"""Where a training runs: Fabric starts the processes and knows the precision; gradients are ours to average."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

import torch

from leaven.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_device(wanted: str) -> str:
    """cpu, cuda or mps; auto takes a GPU where there is one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted not in available:
        raise UserError(f"no device is named {wanted!r}", hint="choose auto, cpu, cuda or mps")
    if not available[wanted]:
        raise UserError(f"this machine has no {wanted}", hint="leave --device out to use what there is")
    return wanted


def launch(device: str, devices: int, precision: Any) -> Fabric:
    """Processes as asked for, or as torchrun or SLURM started them; this function returns in each."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces precision and processes
    warnings.filterwarnings("ignore", module="lightning_fabric")

    if device == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"{devices} GPUs are asked for, and this machine has {torch.cuda.device_count()}", hint="lower --devices")
    world = int(os.environ.get("WORLD_SIZE", devices))
    fabric = Fabric(
        accelerator=device,
        devices=world if "LOCAL_WORLD_SIZE" in os.environ else devices,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric
