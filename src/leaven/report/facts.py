"""What a run was asked to do, and what it took, in words."""

from collections.abc import Mapping
from typing import Any

from leaven.errors import UserError
from leaven.methods.registry import find_method


def facts(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """{name, value, why} for the page: method, encoder, data, length, machine; `why` is empty where there is nothing to say."""
    asked, plan, result, machine = config["asked"], config["plan"], config.get("result") or {}, config["machine"]
    reasons = {choice["what"]: choice["why"] for choice in config["choices"]}
    spec = asked["data"]["spec"]
    named = {name: str(encoder["name"]) + arguments(encoder["arguments"]) for name, encoder in asked["encoder"].items()}
    encoders = list(named.values()) if len(named) == 1 else [f"{role}: {name}" for role, name in named.items()]
    chosen = [f"chosen: {reasons[what]}" for what in ("encoder", *(f"encoder of {role}" for role in named)) if what in reasons]
    labels = f", {spec['classes']} classes, {spec['labeled']:,} labels" if spec["classes"] else ", no labels"
    inputs = ", ".join(f"{role['modality']} {' x '.join(map(str, role['shape']))}" for role in spec["roles"].values())
    steps = result.get("steps") or (config.get("stopped") or {}).get("step") or plan["steps"]
    passes = steps * plan["batch"] / spec["samples"]
    rows = [
        ("Method", asked["method"]["name"].rpartition(":")[2], idea(asked["method"]["name"])),
        ("Encoder", ", ".join(encoders), "; ".join(chosen)),
        ("Data", f"{asked['data']['name']}: {spec['samples']:,} samples to train on, {inputs}{labels}", ""),
        ("Length", f"{steps:,} steps of {plan['batch']} samples, {passes:.3g} passes over the data", length(asked["length"], reasons)),
        ("Seed", str(asked["seed"]), ""),
        ("Machine", ", ".join(described(machine)), f"{asked['precision']}: {reasons['precision']}" if "precision" in reasons else asked["precision"]),
    ]
    if result:
        used = [f"{result['seconds']:,.0f} s, {result['samples_per_second']:,.0f} samples/s"]
        used += [f"{result['cpu_seconds']:,.0f} s of processor time"] if "cpu_seconds" in result else []
        used += [f"{result['peak_memory'] / 1e9:.2f} GB of memory"] if result.get("peak_memory") else []
        rows.append(("Took", ", ".join(used), ""))
    return [{"name": name, "value": value, "why": why} for name, value, why in rows]


def idea(method: str) -> str:
    """The first line of a method's file; empty for a user's own that is no longer there."""
    try:
        return (find_method(method).__doc__ or "").strip().partition("\n")[0]
    except UserError:
        return ""


def arguments(values: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in values.items())})" if values else ""


def length(asked: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    if asked["budget"] is not None:
        minutes = asked["budget"] / 60
        budget = f"as many steps as fit into {minutes:g} minutes" if minutes >= 2 else f"as many steps as fit into {asked['budget']:g} seconds"
    else:
        budget = ""
    return "; ".join(part for part in (budget, reasons.get("length", ""), reasons.get("batch", "")) if part)


def described(machine: Mapping[str, Any]) -> list[str]:
    """The parts of a machine that are known, device first."""
    threads = {None: "", 1: "1 thread"}.get(machine.get("threads"), f"{machine.get('threads')} threads")
    gpu = machine.get("gpu") or (machine["device"] if machine["device"] != "cpu" else "")
    return [part for part in (gpu, machine.get("cpu", ""), threads) if part]
