"""Where a training runs and what may end it: Fabric starts the processes and knows the precision; gradients are ours to average."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leaven.errors import Interrupted, UserError, out_of_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ASK_DRIVER = "PYTORCH_NVML_BASED_CUDA_CHECK"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Too little memory, and too few samples for batch norm, become UserErrors that say what to do."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            hint = "lower --batch, or split each batch with --accumulate 2 (or more); the last checkpoint is kept"
            raise UserError("out of memory", hint=hint) from error
        if "more than 1 value per channel" in str(error):
            raise UserError("batch norm needs two samples or more at a time", hint="raise --batch, or lower --accumulate") from error
        raise


class StopRequest:
    """Whether somebody asked for an end. The first Ctrl-C or SIGTERM only asks; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen until the end of the block. Raises Interrupted on a second Ctrl-C. Only the main thread of a process hears signals."""

        def ask(number: int, frame: Any) -> None:
            if self.asked and number == signal.SIGINT:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third one ends whatever does not come to an end
                raise KeyboardInterrupt
            self.asked = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("stopped at once") from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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


def seed_device(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for the CPU and this device alone: at every call, it would record a stack trace for each kind of device not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def describe_machine(device: str) -> dict[str, Any]:
    """The device, the name of a GPU, the CPU, its cores, and the threads that torch uses."""
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {"device": device, **gpu, "cpu": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def processor_seconds() -> float:
    """Processor time of this process, all its threads and its finished children."""
    return time.process_time() + sum(os.times()[2:4])  # os.times counts this process in ticks of a hundredth of a second


def peak_memory(device: torch.device) -> int | None:
    """The most bytes ever held at once: on the GPU where one is used, else by this process; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the parent held when it started this process
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        return None if line is None else int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def without_module(name: str) -> Iterator[None]:
    """Importing `name` fails here, as if it were not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def launch(device: str, devices: int, precision: Any) -> Fabric:
    """Start `devices` processes, or join those that torchrun or SLURM started; this function returns in every one of them."""
    user_choice = os.environ.get(ASK_DRIVER)
    with without_module("torchmetrics"):  # Fabric imports all of it to ask its version: four seconds of every command
        from lightning_fabric import Fabric

    if user_choice is None:  # it sets this, and then every optimiser step opens the driver's library to ask whether there is a GPU
        os.environ.pop(ASK_DRIVER, None)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces precision and processes
    warnings.filterwarnings("ignore", module="lightning_fabric")

    there, kind = (torch.cuda.device_count(), "GPUs") if device == "cuda" else (max(2, os.cpu_count() or 1), "CPU cores")
    if devices > there:
        raise UserError(f"this machine has {there} {kind}, not {devices}", hint="lower --devices")
    world = int(os.environ.get("WORLD_SIZE", devices))
    fabric = Fabric(
        accelerator=device,
        devices=world if "LOCAL_WORLD_SIZE" in os.environ else devices,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric
