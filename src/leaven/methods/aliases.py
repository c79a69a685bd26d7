"""What the literature and lectures call methods."""

ALIASES = {
    "moco": "mocov2", "facenet": "triplet", "instance_discrimination": "npid", "npair": "n_pair", "supervised_contrastive": "supcon",
    "contrastive_predictive_coding": "cpc", "barlowtwins": "barlow_twins", "deep_cluster": "deepcluster", "masked_autoencoder": "mae",
    "i_jepa": "ijepa", "inpainting": "context_encoder", "colorisation": "colorization", "colourisation": "colorization",
    "colourization": "colorization", "context_prediction": "relative_position", "rotnet": "rotation", "ae": "autoencoder",
    "auto_encoder": "autoencoder", "dae": "denoising_autoencoder", "sae": "sparse_autoencoder", "deep_ae": "deep_autoencoder",
    "bernoulli_rbm": "rbm", "grbm": "gaussian_rbm", "deep_belief_network": "dbn", "beta_vae": "vae", "iwae": "vae", "vq_vae": "vqvae",
    "cgan": "conditional_gan", "wgan": "wgan_gp", "wgangp": "wgan_gp", "ddpm": "diffusion", "ddim": "diffusion", "pixelcnn": "causal_cnn",
    "gated_pixelcnn": "causal_cnn", "bert": "masked_lm", "mlm": "masked_lm", "gpt": "causal_lm", "clm": "causal_lm", "skipgram": "word2vec",
    "skip_gram": "word2vec", "cbow": "word2vec", "sgns": "word2vec", "sbert": "sentence_bert", "unsupervised_simcse": "simcse",
    "spokencse": "spoken_cse", "fine_tune": "finetune", "fine_tuning": "finetune",
    "knowledge_distillation": "distillation", "distill": "distillation", "ppmi": "ppmi_svd",
    "autoregressive_predictive_coding": "apc", "wav2vec_2": "wav2vec2", "audio_mae": "mae", "data2vec_audio": "data2vec",
    "mockingjay": "masked_prediction", "lit": "clip", "dalle2": "unclip", "dall_e_2": "unclip",
    "flexmatch": "fixmatch", "freematch": "fixmatch", "pseudo_labeling": "pseudo_label", "self_training": "noisy_student",
    "dual_learning": "dual_unsupervised", "dual_supervised_learning": "dual_supervised", "joint_dual_learning": "joint_dual",
}  # fmt: skip
"""Another name of a method -> its name, both with underscores. A method's own name works with hyphens as well."""

BUFFERS = ("fifo", "reservoir", "minred")
"""What the literature lists among the methods, and is which samples of a stream are kept here."""
