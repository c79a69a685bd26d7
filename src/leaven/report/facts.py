"""What a run was asked to do, and what it took, in words."""

from collections.abc import Mapping
from typing import Any

from leaven.encoders.build import encoder_title
from leaven.errors import UserError
from leaven.evaluation.comparison import time_in_words
from leaven.methods.registry import known_method


def facts(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """{name, value, why} for the page: method, encoder, data, length, machine; `why` is empty where there is nothing to say."""
    asked, plan, result, machine = config["asked"], config["plan"], config.get("result") or {}, config["machine"]
    reasons = {choice["what"]: choice["why"] for choice in config["choices"]}
    spec = asked["data"]["spec"]
    named = {role: encoder_title(encoder) for role, encoder in asked["encoder"].items()}
    encoders = list(named.values()) if len(named) == 1 else [f"{role}: {name}" for role, name in named.items()]
    chosen = [f"chosen: {reasons[what]}" for what in ("encoder", *(f"encoder of {role}" for role in named)) if what in reasons]
    named_by = f"{spec['classes']} classes" if spec["classes"] else f"{len(spec['tag_names'])} tags" if spec.get("tag_names") else ""
    labels = f", {named_by}, {spec['labeled']:,} labels" if named_by else ", no labels"
    inputs = ", ".join(f"{role['modality']} {' x '.join(map(str, role['shape']))}" for role in spec["roles"].values())
    steps = result.get("steps") or (config.get("stopped") or {}).get("step") or plan["steps"]
    passes = steps * plan["batch"] / spec["samples"]
    length = f"{steps:,} steps of {plan['batch']} samples, {passes:.3g} passes over the data" if steps else "no steps"
    budget = asked["length"]["budget"]
    fits = "" if budget is None else f"as many steps as fit into {time_in_words(budget)}"
    why_so_long = (fits, reasons.get("length"), reasons.get("batch"))
    rows = [
        ("Method", asked["method"]["name"].rpartition(":")[2], idea(asked["method"]["name"])),
        ("Encoder", ", ".join(encoders), "; ".join(chosen)),
        ("Data", f"{asked['data']['name']}: {spec['samples']:,} samples to train on, {inputs}{labels}", ""),
        ("Length", length, "; ".join(filter(None, why_so_long))),
        ("Seed", str(asked["seed"]), ""),
        ("Machine", ", ".join(described(machine)), f"{asked['precision']}: {reasons['precision']}" if "precision" in reasons else asked["precision"]),
    ]
    if result:
        used = [f"{result['seconds']:,.0f} s, {result['samples_per_second']:,.0f} samples/s"]
        used += [f"{result['cpu_seconds']:,.0f} s of processor time"] if result.get("cpu_seconds") and steps else []
        used += [f"{result['peak_memory'] / 1e9:.2f} GB of memory"] if result.get("peak_memory") else []
        rows.append(("Took", ", ".join(used), ""))
    return [{"name": name, "value": value, "why": why} for name, value, why in rows]


def idea(method: str) -> str:
    """The first line of a method's docstring; empty for a user's own that this process has not seen, whose file is never executed for that."""
    try:
        return (known_method(method).__doc__ or "").strip().partition("\n")[0]
    except UserError:
        return ""


def described(machine: Mapping[str, Any]) -> list[str]:
    """The parts of a machine that are known, device first."""
    threads = {None: "", 1: "1 thread"}.get(machine.get("threads"), f"{machine.get('threads')} threads")
    gpu = machine.get("gpu") or (machine["device"] if machine["device"] != "cpu" else "")
    return [part for part in (gpu, machine.get("cpu", ""), threads) if part]
