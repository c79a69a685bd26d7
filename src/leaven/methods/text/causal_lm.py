from leaven.encoders import TextEncoder
from leaven.methods import Method, Outputs, Recipe
from leaven.modalities.tokenizer import TokenizerChoice
from leaven.modules.text import VocabularyHead, chance_of, mean_nats
from leaven.modules.writing import written


class CausalLM(Method):
    """Predict every token from those before it (Radford et al. 2018, eq. 1)."""

    paper = "Improving Language Understanding by Generative Pre-Training (Radford et al.)"
    year = 2018
    modality = "text"
    wants = "causal_tokens"
    purpose = "plain"
    shapes_features = False
    tokens = TokenizerChoice(lowercase=False)
    recipe = Recipe(lr=1e-3, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)
    log_prob_is = "log-likelihood"

    def __init__(self, encoder: TextEncoder):
        super().__init__(encoder)
        self.head = VocabularyHead(encoder, plain=True)

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return {"x": x}

    def forward(self, views):
        x = views["x"]
        features, tokens, _ = self.encoder.token_features(x)
        return Outputs(features=features, **self.head(tokens[:, :-1], x.ids[:, 1:], x.mask[:, 1:]))

    def loss(self, outputs):
        return {"cross_entropy": mean_nats(outputs)}

    def chance(self, outputs):
        return chance_of(self.encoder)

    def measures(self, outputs):
        return {"perplexity": mean_nats(outputs).exp().item()}

    def log_prob(self, value, draw):
        return -self(views={"x": self.encoder.in_tokens(value)}).nats

    def sample(self, count, draw, label=None):
        device = self.head.bias.device

        def logits(read):
            return self.head.logits(self.encoder.token_features(read).tokens[:, -1])

        return written(
            logits, count, self.encoder.input, device, draw.gumbel(count, self.encoder.input.shape[0], self.encoder.input.vocabulary).to(device)
        )
