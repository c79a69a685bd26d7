"""What Leaven says of a training, and when: a table of measurements with the sentence that each of them gets.

A gain over a floor is (accuracy of the floor, lower and upper bound of the difference on the same test samples, how many more test samples would show
it). A floor without bounds is of an old scorecard: only its own interval (one point on each side) is known.
"""

import pytest
import torch

from leaven.evaluation.gains import PerSample, add_gains
from leaven.evaluation.scorecard import Scorecard


def point(accuracy, key="accuracy", half=0.01, **gains):
    """A score and, of each floor, (its own accuracy, low, high, more)."""
    kept = {
        name.replace("_", "-"): {"difference": accuracy - floor[0], "interval": list(floor[1:3]), "more_test_samples": (*floor, None)[3]}
        for name, floor in gains.items()
        if len(floor) > 1
    }
    return {key: accuracy, "interval": [accuracy - half, accuracy + half], "gains": kept}


def by(protocol, accuracy, key="accuracy", half=0.01, **floors):
    """A scorecard of one protocol."""
    beside = {name.replace("_", "-"): {protocol: point(floor[0], key, half)} for name, floor in floors.items()}
    return Scorecard("simclr", "cnn", "digits", {protocol: point(accuracy, key, half, **floors)}, beside)


def few(ours, alone, half=0.01, **floors):
    """A scorecard of few labels. ours: {labels per class: accuracy}; alone: the same of the labels alone; floors: at the largest count."""
    last = max(ours)
    curve = [{"labels_per_class": count, **point(accuracy, half=half)} for count, accuracy in ours.items()]
    floors |= {"labels_only": alone[last]} if last in alone else {}
    curve[-1] = {"labels_per_class": last, **point(ours[last], half=half, **floors)}
    beside = {name.replace("_", "-"): {"few-label": [{"labels_per_class": last, **point(floor[0])}]} for name, floor in floors.items()}
    if alone:
        beside["labels-only"] = {"few-label": [{"labels_per_class": count, **point(floor[0], half=half)} for count, floor in alone.items()]}
    return Scorecard("simclr", "cnn", "digits", {"few-label": curve}, beside)


def after(card, first):
    """The sentence that follows the first one."""
    assert card.sentence().startswith(first)
    return card.sentence().removeprefix(first).strip()


UNTRAINED = (0.440, 0.10, 0.24)
HELPS = "Pre-training helps: 57.0 % against 44.0 % of the untrained encoder, 10 labels per class."

FIRST = {
    "it helps beyond the untrained encoder and the best other floor": (
        by("linear", 0.612, untrained=UNTRAINED, input=(0.475, 0.08, 0.19)),
        "Pre-training helps: 61.2 % against 44.0 % of the untrained encoder and 47.5 % of the best floor (raw input), linear probe.",
    ),
    "the best of the other floors is named, here the share of the commonest class": (
        by("linear", 0.612, untrained=UNTRAINED, input=(0.475, 0.08, 0.19), majority=(0.520, 0.04, 0.14)),
        "Pre-training helps: 61.2 % against 44.0 % of the untrained encoder and 52.0 % of the best floor (commonest class), linear probe.",
    ),
    "it helps, but the raw input gives more": (
        by("linear", 0.612, untrained=UNTRAINED, input=(0.700, -0.13, -0.05)),
        "Pre-training is better than the untrained encoder, but worse than the raw input: 61.2 % against 44.0 % and 70.0 %, linear probe.",
    ),
    "it helps, and the raw input may be as good": (
        by("linear", 0.612, untrained=UNTRAINED, input=(0.603, -0.02, 0.04, 912)),
        "Pre-training is better than the untrained encoder (61.2 % against 44.0 %, linear probe), but it cannot be told apart from the raw input "
        "with these labels (60.3 %); about 910 more test labels would tell.",
    ),
    "whether it helps is open, and a number of test labels would tell": (
        by("linear", 0.612, untrained=(0.601, -0.01, 0.03, 903), input=(0.475, 0.08, 0.19)),
        "Pre-training and the untrained encoder cannot be told apart with these labels (61.2 % against 60.1 %, linear probe); about 900 more "
        "test labels would tell.",
    ),
    "the two score the same, and no number of test labels would tell": (
        by("linear", 0.612, untrained=(0.612, -0.02, 0.02)),
        "Pre-training and the untrained encoder cannot be told apart with these labels (61.2 % against 61.2 %, linear probe).",
    ),
    "nobody labels 80,000 samples, so they are not named": (
        by("linear", 0.612, untrained=(0.611, -0.02, 0.02, 84_000)),
        "Pre-training and the untrained encoder cannot be told apart with these labels (61.2 % against 61.1 %, linear probe).",
    ),
    "whether it helps is open, but the raw input is better": (
        by("linear", 0.612, untrained=(0.601, -0.01, 0.03, 903), input=(0.700, -0.13, -0.05)),
        "Pre-training and the untrained encoder cannot be told apart with these labels (61.2 % against 60.1 %, linear probe); about 900 more "
        "test labels would tell. The raw input is better: 70.0 %.",
    ),
    "it loses to its own untrained encoder": (
        by("linear", 0.500, untrained=(0.550, -0.08, -0.02), input=(0.475, -0.01, 0.06, 200)),
        "Pre-training made it worse: 50.0 % against 55.0 % of the untrained encoder, linear probe.",
    ),
    "it loses to its own untrained encoder and to the best floor": (
        by("linear", 0.500, untrained=(0.550, -0.08, -0.02), input=(0.600, -0.14, -0.06)),
        "Pre-training made it worse: 50.0 % against 55.0 % of the untrained encoder and 60.0 % of the best floor (raw input), linear probe.",
    ),
    "the untrained encoder alone was measured": (
        by("knn", 0.612, untrained=UNTRAINED),
        "Pre-training helps: 61.2 % against 44.0 % of the untrained encoder, nearest neighbours.",
    ),
    "the untrained encoder was not measured: better than the best floor": (
        by("knn", 0.612, input=(0.475, 0.08, 0.19)),
        "Pre-training is better than the raw input: 61.2 % against 47.5 %, nearest neighbours.",
    ),
    "the untrained encoder was not measured: worse than the best floor": (
        by("knn", 0.400, characters=(0.475, -0.10, -0.05), input=(0.450, -0.09, -0.01)),
        "Pre-training is worse than tf-idf of characters: 40.0 % against 47.5 %, nearest neighbours.",
    ),
    "the untrained encoder was not measured: open": (
        by("knn", 0.480, majority=(0.475, -0.02, 0.03, 4_321)),
        "Pre-training and always naming the commonest class cannot be told apart with these labels (48.0 % against 47.5 %, nearest neighbours); "
        "about 4,300 more test labels would tell.",
    ),
    "no floor was measured": (
        by("knn", 0.480),
        "Nearest neighbours: 48.0 %; the untrained encoder was not measured, so what the pre-training adds is unknown.",
    ),
    "an old scorecard: intervals far apart": (
        by("linear", 0.612, untrained=(0.440,), input=(0.475,)),
        "Pre-training helps: 61.2 % against 44.0 % of the untrained encoder and 47.5 % of the best floor (raw input), linear probe.",
    ),
    "an old scorecard: intervals that touch": (
        by("linear", 0.612, untrained=(0.590,), half=0.03),
        "Pre-training and the untrained encoder cannot be told apart with these labels (61.2 % against 59.0 %, linear probe).",
    ),
    "the same intervals, but the same samples were compared": (
        by("linear", 0.612, untrained=(0.590, 0.005, 0.039), half=0.03),
        "Pre-training helps: 61.2 % against 59.0 % of the untrained encoder, linear probe.",
    ),
    "search by features has its own measure": (
        by("retrieval", 0.412, key="map", untrained=(0.300, 0.09, 0.13), input=(0.35, 0.04, 0.08)),
        "Pre-training helps: 41.2 % against 30.0 % of the untrained encoder and 35.0 % of the best floor (raw input), retrieval (mAP).",
    ),
    "pairs are tested on pairs": (
        by("pairs", 0.412, key="map", untrained=(0.400, -0.01, 0.03, 287)),
        "Pre-training and the untrained encoder cannot be told apart with these pairs (41.2 % against 40.0 %, pairs (mean reciprocal rank)); about "
        "290 more test pairs would tell.",
    ),
    "few labels are looked at where there are the most": (
        few({1: 0.30, 10: 0.57}, {}, untrained=(0.161, 0.30, 0.50), input=(0.154, 0.31, 0.52)),
        "Pre-training helps: 57.0 % against 16.1 % of the untrained encoder and 15.4 % of the best floor (raw input), 10 labels per class.",
    ),
    "nothing was labeled": (
        Scorecard("simclr", "cnn", "digits"),
        "There are no labels, so what this pre-training is worth is unknown; a few labels (--labels) are enough to measure it.",
    ),
}

SECOND = {
    "the labels alone reach the same with more of them": (
        few({1: 0.30, 10: 0.57}, {10: (0.40, 0.12, 0.22), 20: (0.50,), 40: (0.57,)}, untrained=UNTRAINED),
        "With 10 labels per class it does as well as about 40 without it.",
    ),
    "the labels alone do not reach it with the most that there are": (
        few({1: 0.30, 10: 0.57}, {10: (0.40, 0.12, 0.22), 20: (0.45,), 80: (0.51,)}, untrained=UNTRAINED),
        "With 10 labels per class it does better than 80 do without it: 57.0 % against 51.0 %.",
    ),
    "the labels alone were measured with as many and no more": (
        few({1: 0.30, 10: 0.57}, {1: (0.15,), 10: (0.40, 0.12, 0.22)}, untrained=UNTRAINED),
        "With 10 labels per class it does better than your labels alone: 57.0 % against 40.0 %.",
    ),
    "the difference is there, but too blurred for a number of labels": (
        few({1: 0.30, 10: 0.57}, {10: (0.40, 0.02, 0.32), 40: (0.58,)}, untrained=UNTRAINED),
        "With 10 labels per class it does better than your labels alone: 57.0 % against 40.0 %.",
    ),
    "the labels alone do better": (
        few({1: 0.30, 10: 0.57}, {10: (0.65, -0.12, -0.04)}, untrained=UNTRAINED),
        "With 10 labels per class your labels alone do better: 65.0 % against 57.0 %.",
    ),
    "more test labels would tell": (
        few({1: 0.30, 10: 0.57}, {1: (0.15,), 10: (0.55, -0.03, 0.07, 431)}, untrained=UNTRAINED),
        "With 10 labels per class it cannot be told apart from your labels alone (57.0 % against 55.0 %); about 430 more test labels would tell.",
    ),
    "three draws that differ widely tell nothing, and more test samples would not help": (
        few({10: 0.57}, {10: (0.59, -0.25, 0.21)}, half=0.23, untrained=UNTRAINED),
        "With 10 labels per class it cannot be told apart from your labels alone (57.0 % against 59.0 %).",
    ),
    "the labels alone were measured at a smaller count only": (
        few({1: 0.256, 10: 0.57}, {1: (0.199,)}, untrained=UNTRAINED),
        "What your labels alone give with 10 labels per class was not measured.",
    ),
    "the labels alone were not measured at all": (few({10: 0.57}, {}, untrained=UNTRAINED), ""),
}

CLASSIFIER = {
    "better than everything else that the same labels give": (
        (0.686, {"input": (0.200, 0.35, 0.60), "frozen": (0.610, 0.02, 0.13)}),
        "",
    ),
    "as good as a probe, as far as can be told": (
        (0.686, {"input": (0.200, 0.35, 0.60), "frozen": (0.670, -0.02, 0.06, 512)}),
        " It cannot be told apart from a probe on the frozen encoder with these labels; about 510 more test labels would tell.",
    ),
    "worse than a probe": (
        (0.686, {"input": (0.200, 0.35, 0.60), "frozen": (0.750, -0.10, -0.02)}),
        " It is worse than a probe on the frozen encoder.",
    ),
}


@pytest.mark.parametrize(("card", "sentence"), FIRST.values(), ids=FIRST)
def test_the_first_sentence_says_whether_pre_training_helps(card, sentence):
    assert card.sentence() == sentence


@pytest.mark.parametrize(("card", "sentence"), SECOND.values(), ids=SECOND)
def test_the_second_sentence_says_what_it_is_worth_in_labels(card, sentence):
    assert after(card, HELPS) == sentence


@pytest.mark.parametrize(("scores", "sentence"), CLASSIFIER.values(), ids=CLASSIFIER)
def test_of_a_classifier_the_last_sentence_compares_it_with_the_best_of_the_others(scores, sentence):
    accuracy, floors = scores
    card = by("classifier", accuracy, **floors)
    card.scores["classifier"]["samples"] = 105
    numbers = (
        f"This classifier names 68.6 % of 105 test samples correctly; the same labels give {100 * floors['frozen'][0]:.1f} % with a probe on the "
    )
    assert card.sentence() == f"{numbers}frozen encoder, 20.0 % with the raw input.{sentence}"


def test_the_linear_probe_leads_and_few_labels_follow():
    card = few({1: 0.30, 10: 0.57}, {10: (0.40, 0.12, 0.22), 40: (0.57,)}, untrained=UNTRAINED)
    linear = by("linear", 0.612, untrained=UNTRAINED)
    card.scores = {"knn": point(0.5), **linear.scores, **card.scores}
    card.floors["untrained"] |= linear.floors["untrained"]
    assert card.sentence() == (
        "Pre-training helps: 61.2 % against 44.0 % of the untrained encoder, linear probe. "
        "With 10 labels per class it does as well as about 40 without it."
    )


def test_another_protocol_is_heard_where_it_clearly_says_something_else():
    card = by("linear", 0.977, untrained=(0.975, -0.01, 0.02), input=(0.962, 0.001, 0.03))
    main = "Pre-training and the untrained encoder cannot be told apart with these labels (97.7 % against 97.5 %, linear probe)."
    more = few({10: 0.929}, {}, untrained=(0.815, 0.08, 0.14))
    card.scores |= {**more.scores, "knn": point(0.948, untrained=(0.952, -0.02, 0.01))}
    card.floors["untrained"] |= {**more.floors["untrained"], "knn": point(0.952)}
    assert card.sentence() == f"{main} Pre-training helps: 92.9 % against 81.5 % of the untrained encoder, 10 labels per class."
    card.scores["knn"] = point(0.90, untrained=(0.952, -0.07, -0.03))
    assert card.sentence().endswith("Pre-training made it worse: 90.0 % against 95.2 % of the untrained encoder, nearest neighbours.")


def test_what_is_kept_of_samples_that_were_compared_is_small_and_survives_json():
    import json

    ours, theirs = torch.arange(1000) % 10 < 7, torch.arange(1000) % 10 < 6
    card = by("linear", 0.7, untrained=(0.6,), half=0.03)
    card.scores["linear"]["per_sample"], card.floors["untrained"]["linear"]["per_sample"] = PerSample(ours), PerSample(theirs)
    add_gains(card.scores, card.floors)
    again = Scorecard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert again == card and len(json.dumps(card.to_dict())) < 1000
    assert card.sentence() == "Pre-training helps: 70.0 % against 60.0 % of the untrained encoder, linear probe."
    assert card.scores["linear"]["gains"]["untrained"]["difference"] == pytest.approx(0.1)


def test_draws_and_samples_that_both_have_are_compared():
    correct = torch.zeros(10, 200, dtype=torch.bool)
    correct[:, :120] = True
    theirs = correct[:3].clone()
    theirs[:, 100:120] = False  # ten points fewer in each of three draws
    scores = {"few-label": [{"labels_per_class": 5, **point(0.6), "per_sample": PerSample(correct)}]}
    add_gains(scores, {"labels-only": {"few-label": [{"labels_per_class": 5, **point(0.5), "per_sample": PerSample(theirs)}]}})
    gain = scores["few-label"][0]["gains"]["labels-only"]
    assert gain["difference"] == pytest.approx(0.1) and 0 < gain["interval"][0] < 0.1 < gain["interval"][1]
