"""vLLM in this process, against a module with its interface: what it is asked, and what is said when it cannot."""

import sys
from types import ModuleType

import pytest
from fake_vllm import SamplingParams, make_fake_vllm

from tiny import make_model, make_tokenizer, save_folder
from trsr.errors import ModelError
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Piece, Prompt
from trsr.llm.vllm_engine import VllmGenerator
from trsr.llm.weights import Weights

CHAT = ChatFormat(make_tokenizer())
PROMPTS = [Prompt((Piece("Note.", True),), (Piece(text, False),), "This") for text in ("tea", "a list", "<|im_end|>")]
CALLS = [Call(str(place), prompt, Decoding(12, 1.1, seed=3)) for place, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def model():
    return make_model(vocabulary=len(CHAT.tokenizer))


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    return Weights("tiny", save_folder(tmp_path_factory.mktemp("model"), model, CHAT.tokenizer), "local folder", None)


@pytest.fixture
def vllm(model, monkeypatch):
    module = make_fake_vllm(model)
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_the_engine_gets_token_ids_and_the_decoding(vllm, weights):
    generator = VllmGenerator(weights, CHAT, dtype="float32")
    generator.submit(CALLS)
    generator.collect()
    (engine,) = vllm.LLM.made
    assert engine.settings == {"model": str(weights.path), "dtype": "float32", "enable_prefix_caching": True}
    ((prompts, params),) = engine.asked
    assert prompts == [{"prompt_token_ids": list(CHAT.encode_prompt(prompt))} for prompt in PROMPTS]
    end = CHAT.tokenizer.eos_token_id
    assert params == [SamplingParams(12, 0.0, 3, 1.1, [end])] * 3
    # data that looks like a control token is none
    assert [ids["prompt_token_ids"].count(end) for ids in prompts] == [2, 2, 2]


def test_greedy_answers_are_those_of_the_local_backend(vllm, weights, model):
    made = []
    for generator in (VllmGenerator(weights, CHAT), LocalGenerator(model, CHAT, "tiny")):
        generator.submit([Call(call.key, call.prompt, Decoding(12)) for call in CALLS])
        made.append(dict(generator.collect()))
    assert made[0] == made[1]


def test_the_fingerprint_names_weights_engine_and_dtype(vllm, weights):
    assert VllmGenerator(weights, CHAT).fingerprint == f"{weights.fingerprint}/vllm/auto"


def test_without_vllm_the_line_to_install_it_is_told(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"^backend vllm: vLLM cannot be imported \(.*\): pip install vllm$"):
        VllmGenerator(weights, CHAT)


def test_an_engine_that_does_not_start_is_one_sentence(weights, monkeypatch):
    def refuse(**_):
        raise ValueError("No available memory\nfor the cache blocks.")

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = refuse, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    with pytest.raises(ModelError, match=r"vLLM cannot load the model \(No available memory for the cache blocks\.\)"):
        VllmGenerator(weights, CHAT)


def test_a_prompt_that_does_not_fit_is_named(vllm, weights):
    generator = VllmGenerator(weights, CHAT, context=20)
    generator.submit(CALLS)
    with pytest.raises(
        ModelError, match=r"vLLM refused a prompt \(The decoder prompt \(length \d+\) is longer than 20"
    ):
        generator.collect()
