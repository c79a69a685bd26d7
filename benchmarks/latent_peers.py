"""Models of the data beside their peers, with the same sizes and epochs, in turn: RBM and scikit-learn's BernoulliRBM, VAE and pythae's.

    uv run --with pythae python benchmarks/latent_peers.py [--data MNIST] [--epochs 3] [--rounds 3] [--peers rbm,vae]

Times are those of whole trainings, without opening the data. Ratios are medians over rounds, relative to the peer at the same batch. scikit-learn
measures the pseudo-likelihoods of both machines, on test samples that were binarised once; shorter trainings of Leaven show when it is as good. The
VAEs learn from pictures that were binarised once; the bounds of both use one code per test sample. Learning rates are the defaults of each library;
scikit-learn's equals Leaven's with its momentum.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import leaven
from leaven.data import open_data
from leaven.training.trained import trained_method

HIDDEN, WIDTH, CODE = 500, 512, 32
SHORTER = 0.4


def our_seconds(data, folder: Path, method: str, epochs: int, **settings):
    run = leaven.pretrain(data, method=method, epochs=epochs, out=folder, report=False, keep_going=True, **settings)
    return run.config["result"]["seconds"], trained_method(run)


def boltzmann(data, epochs: int, folder: Path, number: int) -> list[tuple[str, str, float, float]]:
    """(name, its peer, seconds, pseudo-likelihood) of every arm."""
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    pixels = data.rows["x"].unit().flatten(1)
    _, test, _, _ = data.held_out()
    seen = (pixels[test] > 0.5).float().numpy()
    train = pixels[data.train()].numpy()

    def pseudo(weights, visible, hidden):
        judge = BernoulliRBM(n_components=len(hidden), random_state=0)
        judge.components_, judge.intercept_visible_, judge.intercept_hidden_ = weights, visible, hidden
        judge._n_features_out, judge.n_features_in_ = len(hidden), weights.shape[1]
        return float(np.mean([judge.score_samples(seen).mean() for _ in range(5)]))

    found = []
    for batch in (100, 10):
        theirs = BernoulliRBM(n_components=HIDDEN, batch_size=batch, n_iter=epochs, random_state=number)
        begin = time.perf_counter()
        theirs.fit(train)
        spent = time.perf_counter() - begin
        score = pseudo(theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_)
        found.append((sklearn_name(batch), sklearn_name(batch), spent, score))
    less = max(1, round(SHORTER * epochs))
    for precision, batch, passes in (("fp32", 100, epochs), ("bf16", 100, epochs), ("fp32", 100, less), ("fp32", 10, epochs), ("fp32", 10, less)):
        name = f"leaven {precision}, batch {batch}{'' if passes == epochs else f', {passes} of {epochs} epochs'}"
        settings = {"hidden": HIDDEN, "ais_runs": 2, "ais_temperatures": 2}
        spent, method = our_seconds(
            data, folder / f"rbm-{precision}-{batch}-{passes}-{number}", "rbm", passes, precision=precision, batch=batch, settings=settings
        )
        machine = method.stack.machines[0]
        score = pseudo(*(each.detach().numpy() for each in (machine.layer.weight, machine.visible_bias, machine.layer.bias)))
        found.append((name, sklearn_name(batch), spent, score))
    return found


def sklearn_name(batch: int) -> str:
    return f"scikit-learn, batch {batch}"


def variational(data, epochs: int, folder: Path, number: int) -> list[tuple[str, str, float, float]]:
    """(name, its peer, seconds, bound in nats) of every arm."""
    from pythae.models import VAE, VAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    pixels = (data.rows["x"].unit().flatten(1) > 0.5).float()
    _, test, _, _ = data.held_out()
    train, seen = pixels[data.train()], pixels[test]
    pictures = (255 * train).byte().unflatten(1, data.spec.roles["x"].shape).numpy()
    found = []
    trainer = BaseTrainerConfig(
        output_dir=str(folder / f"pythae-{number}"), num_epochs=epochs, per_device_train_batch_size=100, learning_rate=1e-3, no_cuda=True, seed=number
    )
    theirs = VAE(VAEConfig(input_dim=(seen.shape[1],), latent_dim=CODE, reconstruction_loss="bce"))
    begin = time.perf_counter()
    TrainingPipeline(model=theirs, training_config=trainer)(train_data=train)
    spent = time.perf_counter() - begin
    with torch.no_grad():
        from pythae.data.datasets import BaseDataset

        bound = -theirs.eval()(BaseDataset(seen, torch.zeros(len(seen)))[:]).loss.item()
    found.append(("pythae", "pythae", spent, bound))
    for precision in ("fp32", "bf16"):
        settings = {"encoder.widths": (WIDTH,), "code": CODE}
        spent, method = our_seconds(
            pictures, folder / f"vae-{precision}-{number}", "vae", epochs, encoder="dense", precision=precision, batch=100, settings=settings
        )
        with torch.no_grad():
            outputs = method({"target": seen, "noise": torch.randn(len(seen), 1, CODE, generator=torch.Generator().manual_seed(0))})
            bound = -sum(term.item() for term in method.loss(outputs).values())
        found.append((f"leaven {precision}", "pythae", spent, bound))
    return found


PEERS = {"rbm": (boltzmann, "pseudo-likelihood"), "vae": (variational, "bound, nats")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="MNIST")
    parser.add_argument("--data-root")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="rbm,vae")
    arguments = parser.parse_args()
    peers = arguments.peers.split(",")
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no peer is named {', '.join(sorted(unknown))}; choose from {', '.join(PEERS)}")
    data = open_data(arguments.data, root=arguments.data_root)
    for peer in peers:
        measure, what = PEERS[peer]
        with tempfile.TemporaryDirectory() as folder:
            rounds = [measure(data, arguments.epochs, Path(folder), number) for number in range(arguments.rounds)]
        times = {name: [found[place][2] for found in rounds] for place, (name, *_) in enumerate(rounds[0])}
        print(f"\n| {peer} | seconds for {arguments.epochs} epochs | speed relative to the peer | {what} |\n|---|---|---|---|")
        for place, (name, base, *_) in enumerate(rounds[0]):
            ratio = statistics.median(theirs / own for theirs, own in zip(times[base], times[name], strict=True))
            score = statistics.median(found[place][3] for found in rounds)
            print(f"| {name} | {statistics.median(times[name]):.1f} | {ratio:.2f} | {score:.1f} |", flush=True)


if __name__ == "__main__":
    main()
