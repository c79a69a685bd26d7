import torch

from leaven.data import open_data
from leaven.data.sources import named
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of
from leaven.training.trained import trained_method

CLUSTERS = 50
FIRST, SECOND = "clusters of cepstra", "clusters of a middle layer"
KNOWN = "share of the words' information in the cluster of a frame"
BY_CHANCE = "the same for permuted words"


class HubertIterations(Claim):
    says = "The targets of HuBERT's second iteration, clusters of what it has learned, say more about speech than those of its first."
    source = "Hsu et al. 2021, HuBERT, table 5: clusters of a middle layer share more information with phones than clusters of MFCC do"
    rule = (
        f"Frames of spoken digits are put into {CLUSTERS} clusters: of their cepstra, and of a middle layer of the encoder that learned to predict "
        "these. Holds if the second share more information with the digits, with the whole 95 % interval over seeds above zero."
    )
    data = "fsdd"
    protocols = ("linear",)
    steps = 300
    batch = 64
    minutes = 12
    bars = {KNOWN: "as they are", BY_CHANCE: "words permuted"}
    axis = KNOWN

    def open(self, root):
        return open_data(named.find_folder(self.data, named.data_root(root)) or self.data, root=root, groups="{label}_{speaker}_{take}.wav")

    def arms(self):
        return {FIRST: Arm("hubert", {"clusters": (CLUSTERS,)}), SECOND: Arm("hubert", {"clusters": (CLUSTERS, CLUSTERS)})}

    def measure_run(self, run, samples, seed):
        """Of the targets that the run ended with."""
        from sklearn.metrics import homogeneity_score

        method, rows, sounds = trained_method(run), samples.train(), samples.rows["x"]
        real = torch.cat([method.encoder.real_tokens(sounds[part]) for part in rows.split(250)])  # type: ignore[misc]
        words, clusters = samples.rows.label[rows], method.get_buffer("targets")[rows][real].numpy()
        permuted = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(seed))]
        of_frames = {KNOWN: words, BY_CHANCE: permuted}
        return {name: homogeneity_score(label[:, None].expand(real.shape)[real].numpy(), clusters) for name, label in of_frames.items()}

    def decide(self, findings: Findings):
        chance = max(findings.number(arm, BY_CHANCE)["mean"] for arm in (FIRST, SECOND))
        because = f"{findings.contrast(SECOND, FIRST, KNOWN)}; of permuted words {chance:.3g} at most."
        return Outcome(verdict_of(findings.gain(SECOND, FIRST, KNOWN)), because)
