"""What each command prints: from the result of its public function and the options as they were given, to the JSON and the text for people."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from leaven.cli.command import command
from leaven.run import when

MOST_CLASSES, MOST_TEXTS = 10, 10  # that are shown


@command
def demo(card: Any, options: Any) -> tuple[Any, str]:
    report = str(Path(options.out) / "report.html")
    return {**card.to_dict(), "report": report}, f"{card.text()}\nThe report: {report}"


@command
def inspect(inspection: Any, options: Any) -> tuple[Any, str]:
    return inspection.to_dict(), inspection.text()


@command
def rewrite(rewritten: Any, options: Any) -> tuple[Any, str]:
    same = f"; {rewritten.same:,} texts came back as they were" if rewritten.same else ""
    return rewritten.to_dict(), f"{rewritten.out}: {rewritten.pairs:,} pairs{same}"


@command
def pretrain(run: Any, options: Any) -> tuple[Any, str]:
    result, asked = run.config["result"], run.config["asked"]
    names = [encoder["name"] for encoder in asked["encoder"].values()]
    content = {
        "run": str(run.path),
        "method": asked["method"]["name"],
        "encoder": names[0] if len(names) == 1 else names,
        "data": asked["data"]["name"],
        **result,
    }
    spent = sum(result["time_split"].values())
    split = ", ".join(f"{part} {100 * seconds / spent:.0f} %" for part, seconds in result["time_split"].items())
    report = run.path / "report.html"
    lines = [
        f"{run.path}: {result['steps']} steps, {result['samples']:,} samples, {result['seconds']:.0f} s, "
        f"{result['samples_per_second']:.0f} samples/s ({split})",
        *verdict_lines(result),
        f"Next: {what_next(run, asked, options)}" + (f"; the report: {report}" if report.exists() else ""),
    ]
    return content, "\n".join(lines)


@command
def finetune(run: Any, options: Any) -> tuple[Any, str]:
    asked, result = run.config["asked"], run.config["result"]
    learned, classes = asked["labels"]["learned"], asked["data"]["spec"]["class_names"]
    content = {"run": str(run.path), "start": str(options.run), "data": asked["data"]["name"], "classes": classes, "labels": learned, **result}
    source = f"{run.path} {source_of(options)}"
    labels = f" --labels {options.labels}" if options.labels else ""
    lines = [
        f"{run.path}: {len(classes)} classes from {learned:,} labels, {result['steps']} steps, {result['seconds']:.0f} s",
        *verdict_lines(result),
        f"Next: leaven evaluate {source}{labels}, and leaven predict {source} --out predicted.csv",
    ]
    return content, "\n".join(lines)


def verdict_lines(result: dict[str, Any]) -> list[str]:
    return [f"{verdict['verdict']} {when(verdict)}: {verdict['why']}" for verdict in result["health"]]


def what_next(run: Any, asked: dict[str, Any], options: Any) -> str:
    """The command that suits the data: `evaluate` where it has labels or pairs, else how to give labels, or what needs none."""
    from leaven.data.class_columns import class_columns

    source = f"{run.path} {source_of(options)}"
    evaluate = f"leaven evaluate {source}" + (f" --labels {options.labels}" if options.labels else "")
    if options.labels or asked["data"]["spec"]["classes"] > 1 or len(asked["data"]["spec"]["roles"]) > 1:
        return evaluate
    if columns := class_columns(Path(options.data), (options.columns or {}).values()):
        return " or ".join(f"{evaluate} --labels {column}" for column in columns[:2])
    return f"{evaluate} --labels FILE.csv (file,label of some), or leaven embed {source} --out vectors.npy"


def source_of(options: Any) -> str:
    """The data of a command and its columns, as another command takes them."""
    return str(options.data) + (f" --columns {','.join(map('='.join, options.columns.items()))}" if options.columns else "")


@command
def evaluate(card: Any, options: Any) -> tuple[Any, str]:
    report = str(options.run / "report.html")
    return {**card.to_dict(), "report": report}, f"{card.text()}\nThe whole story: {report}"


@command
def compare(comparison: Any, options: Any) -> tuple[Any, str]:
    content = comparison.to_dict()
    return content, f"{comparison.text()}\nThe whole story: {content['report']}"


@command
def reproduce(result: Any, options: Any) -> tuple[Any, str]:
    return result, f"{result['claim']}: {result['verdict']}. {result['because']}\nThe whole story: {result['report']}"


@command
def predict(predictions: Any, options: Any) -> tuple[Any, str]:
    out, classes, counts = str(options.out), list(predictions.classes), predictions.counts
    commonest = sorted(counts.items(), key=lambda item: -item[1])[:MOST_CLASSES]
    more = f", and {len(counts) - MOST_CLASSES} more classes" if len(counts) > MOST_CLASSES else ""
    content = {"out": out, "count": len(predictions), "dim": len(classes), "classes": classes, "counts": counts}
    return content, f"{out}: {len(predictions):,} labels: {', '.join(f'{count:,} {name}' for name, count in commonest)}{more}"


@command
def embed(vectors: Any, options: Any) -> tuple[Any, str]:
    count, dim = vectors.shape
    return {"out": str(options.out), "count": count, "dim": dim}, f"{options.out}: {count:,} vectors of {dim} numbers"


@command
def search(answers: Any, options: Any) -> tuple[Any, str]:
    lines = []
    for query, neighbours in zip(options.query, answers, strict=True):
        width = max(len(neighbour["file"]) for neighbour in neighbours)
        lines.append(query)
        for neighbour in neighbours:
            place = f"{neighbour['rank']:4}  {neighbour['similarity']:.4f}  {neighbour['file']:{width}}"
            lines.append(f"{place}  {neighbour.get('label') or ''}  {shortened(neighbour.get('text', ''))}".rstrip())
    sheet = text_of(options.out)
    if sheet is not None:
        lines.append(f"The contact sheet: {sheet}")
    one = len(answers) == 1
    return {"query": options.query[0] if one else options.query, "neighbours": answers[0] if one else answers, "sheet": sheet}, "\n".join(lines)


def shortened(text: str, most: int = 100) -> str:
    """A text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def text_of(path: Path | None) -> str | None:
    return None if path is None else str(path)


@command
def export(exported: Any, options: Any) -> tuple[Any, str]:
    difference = exported.difference.relative
    nearness = f"within {difference:.1e} of" if difference else "equal to"
    return exported.to_dict(), f"{exported.out}: {exported.count:,} parameters, {exported.dim} features, {nearness} the encoder's"


@command
def sample(samples: Any, options: Any) -> tuple[Any, str]:
    content = {"out": str(options.out), "count": len(samples)}
    if isinstance(samples, list):
        return content | {"texts": samples}, "\n".join([*samples[:MOST_TEXTS], f"{options.out}: {len(samples):,} new texts"])
    shape = list(samples.shape[1:])
    return content | {"shape": shape}, f"{options.out}: {len(samples):,} new samples of {' x '.join(map(str, shape))}"


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
    return {"out": text_of(options.out), "sheet": text_of(options.sheet), **content}, "\n".join(lines)


@command
def reconstruct(reconstruction: Any, options: Any) -> tuple[Any, str]:
    out = text_of(options.out)
    return {"out": out, **reconstruction.to_dict()}, reconstruction.text() + (f"\n{out}" if out else "")


@command
def interpolate(way: Any, options: Any) -> tuple[Any, str]:
    texts = way if isinstance(way, list) else []
    content = {"texts": texts} if texts else {"shape": list(way.shape[1:])}
    lines = [*texts, f"{options.out}: {len(way)} steps from {options.a} to {options.b}"]
    return {"out": str(options.out), "count": len(way), **content}, "\n".join(lines)


@command
def methods(listed: Any, options: Any) -> tuple[Any, str]:
    if options.name is not None:
        (method,) = listed
        return method, f"{in_full(method)}\n\n  {method['paper']}, {method['year']}"
    lines = []
    for family, members in groupby(sorted(listed, key=itemgetter("family", "year", "name")), itemgetter("family")):
        lines.append(f"{family}\n")
        for method in members:
            lines += [f"  {method['name']}  ({method['modality']})", f"    {method['summary']}", f"    {method['paper']}, {method['year']}"]
            lines += [f"    {' '.join(settings_of(method))}", ""]
    return listed, "\n".join(lines)


@command
def encoders(listed: Any, options: Any) -> tuple[Any, str]:
    if options.name is not None:
        return listed[0], in_full(listed[0])
    lines = []
    for encoder in listed:
        lines += [f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})", f"  {encoder['summary']}"]
        lines += [f"  {' '.join(settings_of(encoder))}", ""]
    return listed, "\n".join([*lines, "Any timm model of pictures works by its name as well, for example resnet18."])


@command
def protocols(listed: Any, options: Any) -> tuple[Any, str]:
    texts = []
    for protocol in listed:
        settings = {
            f"--set {protocol['name']}.{option}={setting_value(value)}": protocol["meanings"].get(option, "")
            for option, value in protocol["options"].items()
        }
        texts.append(on_lines(f"{protocol['name']}  ({protocol['title']})", [protocol["summary"], f"Needs {protocol['needs']}."], settings))
    return listed if options.name is None else listed[0], "\n\n".join(texts)


@command
def claims(listed: Any, options: Any) -> tuple[Any, str]:
    lines = []
    for claim in listed:
        lines.append(f"{claim['name']}  (about {claim['minutes']} minutes on two cores, {claim['seeds']} seeds, {claim['data']})")
        lines += [f"  {claim['says']}", f"  {claim['source']}", f"  Rule: {claim['rule']}", ""]
    return listed, "\n".join(lines)


def settings_of(listed: dict[str, Any]) -> dict[str, str]:
    """The parameters of a method or an encoder with their defaults, in the form that --set takes, and what they mean."""
    return {f"{name}={json.dumps(value)}": listed["meanings"].get(name, "") for name, value in listed["parameters"].items()}


def in_full(listed: dict[str, Any]) -> str:
    """What a method or an encoder is, and each of its parameters."""
    return on_lines(listed["name"], [listed["summary"]], settings_of(listed))


def on_lines(head: str, paragraphs: Iterable[str], settings: dict[str, str]) -> str:
    lines = [head, *(line for paragraph in paragraphs for line in wrapped(paragraph, 2))]
    for setting, meaning in settings.items():
        lines += [f"  {setting}", *wrapped(meaning, 4)]
    return "\n".join(lines)


def wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=" " * indent, subsequent_indent=" " * indent)


def setting_value(value: Any) -> str:
    """A default of a protocol, in the form that --set takes."""
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value) if value != "" else json.dumps(value)
