from dataclasses import replace

import torch

from leaven.data import open_data
from leaven.evaluation.classifier import probabilities
from leaven.experiments.claim import Arm, Claim, few_per_class
from leaven.training.trained import trained_method

WHOLE, CLEAN, ONCE = "three noised students", "three clean students", "one noised student"
LABELS = 250  # per class of the whole train split; a fifth of them are among the samples that the claim uses
ACCURACY = "test accuracy"


class NoisyStudentParts(Claim):
    says = "In Noisy Student, both the noise of the students and their iterations matter."
    source = "Xie et al. 2020, Self-Training With Noisy Student Improves ImageNet Classification, tables 6 and 7"
    rule = (
        "A few labels, the rest of the pictures without, and as many steps for all. Holds if three students with strong views and dropout, one after "
        "another, name more test pictures correctly than three without this noise, and than one student with it that is trained as long as all of "
        "them, each with the whole 95 % interval over seeds above zero."
    )
    train = 10_000
    steps = 400
    batch = 128
    protocols = ()
    minutes = 20
    contrasts = ((WHOLE, CLEAN, ACCURACY), (WHOLE, ONCE, ACCURACY))

    def open(self, root):
        """The labels of most training pictures are taken away."""
        samples = open_data(self.data, root=root)
        known = torch.zeros(len(samples), dtype=torch.bool)
        known[few_per_class(samples, LABELS, 0)] = True
        known[samples.held_out()[1]] = True
        return replace(samples, rows=replace(samples.rows, label=torch.where(known, samples.rows.label, -1)))

    def arms(self):
        small = {"encoder.width": 32}
        return {
            WHOLE: Arm("noisy_student", {**small, "iterations": 3}),
            CLEAN: Arm("noisy_student", {**small, "iterations": 3, "noise": 0.0, "dropout": 0.0}),
            ONCE: Arm("noisy_student", {**small, "iterations": 1}),
        }

    def measure_run(self, run, samples, seed):
        rows = samples.held_out()[1]
        named = torch.cat(list(probabilities(trained_method(run), samples.rows["x"], rows))).argmax(1)
        return {ACCURACY: (named == samples.rows.label[rows]).double().mean().item()}
