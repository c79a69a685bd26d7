import torch

from leaven.data import Batch, DataSet
from leaven.data.sources import named
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.experiments.claim import PRECISION, Arm, Claim, search_precision
from leaven.modalities.counts import of_sparse
from leaven.training.trained import load_encoder_of

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
        from pyarrow import parquet
        from sklearn.feature_extraction.text import CountVectorizer

        folder = named.find_folder(self.data, named.data_root(root))
        files = [] if folder is None else sorted(folder.glob("*.parquet"))
        if not files:
            raise UserError("the newsgroup posts are not here", where=self.data, hint=f"set LEAVEN_DATA to a folder that has {self.data}/ in parquet")
        table = parquet.read_table(files, columns=["text", "label", "split"])
        texts, split = table["text"].to_pylist(), table["split"].to_pylist()
        train = [row for row, name in enumerate(split) if name == "train"]
        words = CountVectorizer(max_features=WORDS, stop_words="english").fit([texts[row] for row in train])
        counts = words.transform(texts)
        filled = torch.from_numpy(counts.getnnz(axis=1) > 0)
        rows = filled.nonzero()[:, 0]
        names, label = table["label"].unique().sort(), table["label"].to_pylist()
        places = {name.as_py(): number for number, name in enumerate(names)}
        batch = Batch.of(x=of_sparse(counts[rows.numpy()], self.data), label=torch.tensor([places[label[row]] for row in rows.tolist()]))
        is_train = torch.tensor([split[row] == "train" for row in rows.tolist()])
        splits = {"train": is_train.nonzero()[:, 0], "test": (~is_train).nonzero()[:, 0]}
        return DataSet.of(self.data, batch, splits=splits, class_names=tuple(map(str, places)))

    def arms(self):
        return {CODES: Arm("deep_autoencoder", {"widths": (500, 250, NUMBERS)})}

    def measure(self, runs, samples, seed):
        train, value, encoder = samples.train(), samples.rows["x"], load_encoder_of(runs[CODES])
        _, lsa = encoder.modality.linear_code(value, train, NUMBERS, seed)
        tf_idf = encoder.modality.raw_features(value, train)
        features = {
            CODES: lambda rows: encode(encoder, value, rows),
            LSA: lambda rows: lsa(value.take(rows)),
            TF_IDF: lambda rows: tf_idf(value.take(rows)),
        }
        return search_precision(features, samples)
