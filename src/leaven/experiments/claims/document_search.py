import torch

from leaven.data import Batch, DataSet, open_data
from leaven.experiments.claim import PRECISION, Arm, Claim, features_of, search_precision
from leaven.modalities import modality_of
from leaven.modalities.counts import of_sparse

NUMBERS, WORDS = 128, 2000
CODES, LSA, TF_IDF = f"deep auto-encoder, {NUMBERS} numbers", f"LSA, {NUMBERS} numbers", "tf-idf"


class DocumentSearch(Claim):
    says = "The codes of a deep auto-encoder of word counts find documents on the same topic better than latent semantic analysis does."
    source = "Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks, figure 4"
    rule = (
        f"Holds if the mean average precision of a search by the cosine of {NUMBERS} numbers is higher than that of a search by as many numbers of a "
        "truncated singular value decomposition of tf-idf, with the whole 95 % interval over seeds; does not hold if it is lower with the whole "
        "interval. Posts of the same newsgroup are relevant. Tf-idf itself is shown beside them and decides nothing."
    )
    data = "20newsgroups"
    train = 20_000
    test = 20_000
    protocols = ()
    steps = 800
    minutes = 3
    contrasts = ((CODES, LSA, PRECISION),)

    def open(self, root):
        """How often each of the commonest words of the training documents occurs."""
        from sklearn.feature_extraction.text import CountVectorizer

        posts = open_data(self.data, root=root)
        texts = posts.rows["x"].main.tolist()
        words = CountVectorizer(max_features=WORDS, stop_words="english").fit([texts[row] for row in posts.train().tolist()])
        counts = words.transform(texts)
        filled = torch.from_numpy((counts.getnnz(axis=1) > 0).nonzero()[0])
        kept = posts.subset(filled)
        batch = Batch.of(x=of_sparse(counts[filled.numpy()], self.data), label=kept.labels)
        return DataSet.of(self.data, batch, splits=kept.splits, class_names=kept.spec.class_names)

    def arms(self):
        return {CODES: Arm("deep_autoencoder", {"widths": (500, 250, NUMBERS)})}

    def measure(self, runs, samples, seed):
        value, train = samples.rows["x"], samples.train()
        modality = modality_of(value)
        _, lsa = modality.linear_code(value, train, NUMBERS, seed)
        return search_precision({CODES: features_of(runs[CODES]), LSA: lsa, TF_IDF: modality.raw_features(value, train)}, samples)
