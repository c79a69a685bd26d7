"""Whatever is done to the files of a run's folder, every command works or refuses it in one line."""

import random
import shutil

import pytest
from mutations import altered_json, damaged, harmless
from safetensors import safe_open
from safetensors.torch import save_file

import leaven

TEXTS = [
    f"{who} {does} {what} {number}" for number in range(8) for who in ("a cat", "the dog") for does in ("sees", "likes") for what in ("it", "a tree")
]
SMALL = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}
TRAININGS = {
    "simclr": lambda out: leaven.pretrain("demo:digits", method="simclr", encoder="convnet", settings={"encoder.width": 8}, steps=3, out=out),
    "vae": lambda out: leaven.pretrain("demo:digits", method="vae", encoder="dense", settings={"encoder.widths": (16,)}, steps=3, out=out),
    "simcse": lambda out: leaven.pretrain(TEXTS, method="simcse", encoder="transformer", settings=SMALL, steps=2, out=out),
    "finetune": lambda out: leaven.finetune(out.with_name("simclr"), "demo:digits", steps=3, out=out),
}
USES = {
    "simclr": (
        leaven.load,
        lambda run: leaven.embed(run, "demo:digits"),
        lambda run: leaven.evaluate(run, "demo:digits", protocols=["knn"]),
        lambda run: TRAININGS["simclr"](run),
        lambda run: leaven.export(run, to="safetensors", out=run.with_name("exported")),
    ),
    "vae": (lambda run: leaven.score(run, "demo:digits"), lambda run: leaven.sample(run, count=2, out=run.with_name("samples.npy"))),
    "simcse": (lambda run: leaven.embed(run, TEXTS), lambda run: leaven.search(run, TEXTS, query="a cat"), lambda run: TRAININGS["simcse"](run)),
    "finetune": (lambda run: leaven.predict(run, "demo:digits"), lambda run: leaven.evaluate(run, "demo:digits", budget=0)),
}
FEW, MANY = 60, 1000


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, train in TRAININGS.items():
        train(folder / name)
    return folder


def alter_and_use(runs, folder, seed):
    draw = random.Random(seed)
    name = draw.choice(list(TRAININGS))
    run = folder / f"{seed}" / name
    shutil.copytree(runs / name, run)
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "report.html"))
    file = draw.choice([path for path in files if path.suffix == ".json"] * 4 + files)
    what = "removed"
    if draw.random() < 0.05:
        file.unlink()
    elif file.suffix == ".json" and draw.random() < 0.9:
        content, what = altered_json(file.read_bytes(), draw)
        file.write_bytes(content)
    elif file.parent.name == "checkpoint" and draw.random() < 0.8:
        with safe_open(file, framework="pt") as stored:
            content, what = altered_json(stored.metadata()["state"].encode(), draw)
            save_file({name: stored.get_tensor(name) for name in stored.keys()}, file, metadata={"state": content.decode()})  # noqa: SIM118
    else:
        what = "damaged"
        file.write_bytes(damaged(file.read_bytes(), draw))
    use = draw.choice(USES[name])
    print(seed, file.relative_to(run.parent), what)
    with harmless():
        use(run)
    shutil.rmtree(run.parent)


@pytest.mark.parametrize("seed", range(FEW))
def test_an_altered_run_works_or_is_refused_in_one_line(runs, tmp_path, seed):
    alter_and_use(runs, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(FEW, MANY, 94))
def test_many_altered_runs_work_or_are_refused_in_one_line(runs, tmp_path, start):
    for seed in range(start, start + 94):
        alter_and_use(runs, tmp_path, seed)
