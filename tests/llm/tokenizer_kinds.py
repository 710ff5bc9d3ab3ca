"""Tokenizers of the kinds that models have, trained on a few sentences."""

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tiny import CHATML, make_tokenizer

TEXTS = [
    "The sea voyages of Émile, a helmsman of 1984: sailing ships, gales and a murder in the harbour.",
    "- title: The Last Judge | subjects: trials and lawyers, gardens | description: She keeps the law, quietly.",
    "likes: sea voyages, gardens\ntopics: law courts\nrecently: unknown. This reader likes books such as these.",
    "花园 and 海: 海上的花园, 法律。",
]
SPECIAL = ["<unk>", "<s>", "<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet))
    return wrap(core)


def pieces_with_bytes():
    """As Llama 2's: a low line block for a space, one before the text, unknown characters as bytes."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], limit_alphabet=40)
    learner.train_from_iterator([text.replace("\n", " ").replace(" ", "▁") for text in TEXTS] * 3, trainer)
    learned = json.loads(learner.to_str())["model"]
    # the bytes are plain tokens, as they are in the models that have them
    vocabulary = {token: number for number, token in enumerate([*learned["vocab"], *BYTES])}
    merges = [tuple(merge) for merge in learned["merges"]]
    core = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return wrap(core)


def unigram():
    """As T5's, with tokens over several words: no pre-tokenizer keeps words apart."""
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Replace("▁", " ")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>")
    core.train_from_iterator(TEXTS * 3, trainer)
    return wrap(core)


def wrap(core):
    core.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", unk_token="<unk>")
    tokenizer.chat_template = CHATML
    return tokenizer


KINDS = {"bytes": make_tokenizer, "byte-level": byte_level, "pieces": pieces_with_bytes, "unigram": unigram}
