"""The `CrossEncoder` of sentence-transformers on the model that is measured, fed texts of the very same token ids."""

from typing import Any

from trsr.benchmarks.cases import Inputs
from trsr.benchmarks.subject import Subject
from trsr.benchmarks.timing import LeftOut

_PLAIN = "{{ messages[0]['content'] ~ messages[1]['content'] }}"  # no words around the pair: the ids are the case's


def make_cross_encoder(subject: Subject) -> Any:
    """A cross-encoder that shares the weights of `subject`; `LeftOut` where there can be none."""
    if subject.folder is None:
        return LeftOut("random weights have no tokenizer")
    try:
        from sentence_transformers import CrossEncoder
        from sentence_transformers.base.modules.transformer import Transformer
        from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
    except ImportError:
        return LeftOut("sentence-transformers is not installed; pip install 'trsr[crossencoder]'")
    from torch.nn import Identity

    transformer = Transformer(
        str(subject.folder),
        transformer_task="text-generation",
        model_kwargs={"dtype": subject.dtype, "attn_implementation": "sdpa"},
        processor_kwargs={"chat_template": _PLAIN},
    )
    transformer.model = subject.model  # one copy of the weights, so that peak memory is that of the method
    tokenizer = transformer.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    score = LogitScore(true_token_id=subject.answers.yes_id, false_token_id=subject.answers.no_id)
    return CrossEncoder(modules=[transformer, score], device=str(subject.device), activation_fn=Identity())


def pairs_of(encoder: Any, inputs: Inputs) -> list[tuple[str, str]] | LeftOut:
    """The texts of a case; `LeftOut` where the encoder would read other ids than the case's."""
    decode = encoder[0].tokenizer.decode
    texts = [decode(list(ids), clean_up_tokenization_spaces=False) for ids in (inputs.prefix, *inputs.suffixes())]
    pairs = [(texts[0], text) for text in texts[1:]]
    read = encoder.preprocess(pairs[:1])["input_ids"][0].tolist()
    if tuple(read) != inputs.prompts[0]:
        return LeftOut(
            f"its tokenizer makes other ids of these texts ({len(read)} instead of {len(inputs.prompts[0])})"
        )
    return pairs
