from leaven.data import open_data
from leaven.data.sources import named
from leaven.experiments.claim import Arm, Claim

WITH, WITHOUT = "spectrogram masked", "not masked"
PLAIN = {"views.speed": 0, "views.noise": 0}


class SpecAugment(Claim):
    says = "Masking stretches of time and bands of frequency makes what is learned from labeled speech hold for speakers who were never heard."
    source = "Park et al. 2019, SpecAugment, table 3: fewer errors on test speech with the masks than without, in every setting"
    rule = (
        "An encoder learns ten words from 82 labeled clips each. Holds if a linear probe of its features names more words of unseen speakers when "
        "two bands and two stretches of time are masked at random during training, with the whole 95 % interval over seeds above zero."
    )
    data = "speech-commands"
    protocols = ("linear",)
    steps = 300
    batch = 64
    seeds = 5
    minutes = 12
    contrasts = ((WITH, WITHOUT, "linear"),)

    def open(self, root):
        return open_data(named.find_folder(self.data, named.data_root(root)) or self.data, root=root)

    def arms(self):
        masks = {WITH: 2, WITHOUT: 0}
        return {name: Arm("supervised", {**PLAIN, "views.band_masks": count, "views.time_masks": count}) for name, count in masks.items()}
