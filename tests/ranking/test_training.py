"""Training: it learns, it is the same twice, a kill costs nothing, and the best step is what comes out."""

import json
import multiprocessing
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_rankers import (
    SETTINGS,
    adapter_of,
    examples_for_training,
    make_base,
    make_examples,
    make_ranker,
    train_and_write,
    train_here,
    train_until_killed,
)

from tiny import make_model
from trsr.config import TrainingConfig
from trsr.errors import ConfigError, DataError, ModelError
from trsr.evaluation.metrics import ranking_metrics
from trsr.ranking import losses, training
from trsr.ranking.adapters import add_lora, prepare
from trsr.ranking.checkpoint import load_checkpoint
from trsr.ranking.training import LabelledPrompt, train, trained_state

TOTAL = 18  # 24 examples, 4 a step, 3 epochs


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory):
    """Adapter and log of a run that nothing disturbed."""
    ranker, log = train_here(base, tmp_path_factory.mktemp("undisturbed"))
    return adapter_of(ranker), log.as_dict()


def run_process(target, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def without_seconds(log):
    return {name: value for name, value in log.items() if name != "seconds"}


def valid_recall(ranker, validation):
    scores = np.concatenate([ranker.log_odds(example.prompt) for example in validation])
    labels = [label for example in validation for label in example.labels]
    owners = [index for index, example in enumerate(validation) for _ in example.labels]
    metrics = ranking_metrics(scores, labels, owners, (3, 5, 10))
    return float(np.mean([metrics[f"recall@{k}"].mean() for k in (3, 5, 10)]))


@pytest.mark.parametrize("loss", ["answer", "binary", "listwise", "pairwise"])
def test_a_rule_is_learnt_with_every_loss(base, tmp_path, loss):
    settings = SETTINGS.model_copy(update={"loss": loss, "epochs": 8, "examples_per_step": 8, "lora_dropout": 0.0})
    validation = make_examples(20, 12, seed=2)
    ranker, log = train(make_ranker(base), make_examples(160, 5, seed=1), validation, settings, tmp_path)
    first, last = (np.mean([step["loss"] for step in steps]) for steps in (log.steps[:8], log.steps[-8:]))
    assert last < 0.5 * first
    chance = np.mean([3, 5, 10]) / 12
    assert log.evaluations[0]["valid_recall"] < chance + 0.15
    assert valid_recall(ranker, validation) > 0.9


def test_the_same_run_twice_gives_the_same_adapter_to_the_bit(base, tmp_path, undisturbed):
    ranker, log = train_here(base, tmp_path)
    adapter, first = undisturbed
    assert adapter_of(ranker) == adapter
    assert without_seconds(log.as_dict()) == without_seconds(first)


def test_a_base_that_gave_up_its_adapter_is_tuned_as_a_fresh_one(base, tmp_path, undisturbed):
    # an experiment tunes one base model for several summary methods, one after the other
    ranker = make_ranker(base)
    examples, validation = examples_for_training()
    first, _ = train(ranker, examples, validation, SETTINGS.model_copy(update={"epochs": 1}), tmp_path / "first")
    first.model.unload()
    second, _ = train(ranker, examples, validation, SETTINGS, tmp_path / "second")
    assert adapter_of(second) == undisturbed[0]


def test_another_seed_is_another_run(base, tmp_path, undisturbed):
    ranker, _ = train_here(base, tmp_path, SETTINGS.model_copy(update={"seed": 8}))
    assert adapter_of(ranker) != undisturbed[0]


@pytest.mark.parametrize(
    ("step", "save_every_step"), [(2, False), (7, False), (8, True)], ids=["none saved", "two steps back", "just saved"]
)
def test_a_killed_run_continues_to_the_same_adapter_and_log(base, tmp_path, undisturbed, step, save_every_step):
    folder, result = tmp_path / "checkpoints", tmp_path / "result.json"
    assert run_process(train_until_killed, base, folder, step, save_every_step) == -signal.SIGKILL
    saved = sorted(path.name for path in folder.glob("step-*"))
    last = step if save_every_step else step // 3 * 3  # every third step is evaluated and saved
    assert saved == ([f"step-{last:07d}"] if last else [])
    assert run_process(train_and_write, base, folder, result) == 0
    adapter, log = json.loads(result.read_text(encoding="utf-8"))
    assert adapter == undisturbed[0]
    assert without_seconds(log) == without_seconds(undisturbed[1])


def test_what_is_left_of_a_half_written_checkpoint_is_not_taken_for_one(base, tmp_path, undisturbed):
    folder = tmp_path / "checkpoints"
    (folder / "step-0000012.partial").mkdir(parents=True)
    (folder / "step-0000012.partial" / "weights.safetensors").write_bytes(b"half")
    ranker, _ = train_here(base, folder)
    assert adapter_of(ranker) == undisturbed[0]
    assert [path.name for path in folder.iterdir()] == [f"step-{TOTAL:07d}"]


def test_a_finished_run_is_not_trained_again(base, tmp_path, undisturbed):
    train_here(base, tmp_path)
    steps = []
    ranker, log = train_here(base, tmp_path, on_step=lambda *told: steps.append(told))
    assert steps == []
    assert adapter_of(ranker) == undisturbed[0]
    assert len(log.steps) == TOTAL


def test_progress_tells_steps_done_and_in_all(base, tmp_path, undisturbed):
    told = []
    train_here(base, tmp_path, on_step=lambda *step: told.append(step))
    losses = [step["loss"] for step in undisturbed[1]["steps"]]
    assert told == [(step + 1, TOTAL, loss) for step, loss in enumerate(losses)]


def test_the_log_counts_tokens_and_evaluations(undisturbed):
    log = undisturbed[1]
    assert log["tokens"] == 3 * 24 * (4 + 5 * 5)
    assert [entry["step"] for entry in log["evaluations"]] == [0, 3, 6, 9, 12, 15, 18]
    assert [entry["step"] for entry in log["steps"]] == list(range(1, TOTAL + 1))


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"learning_rate": 1e-3}, {"loss": "binary"}, {"epochs": 4}, {"lora_r": 4}]
)
def test_a_checkpoint_of_other_settings_is_refused(base, tmp_path, change):
    train_here(base, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    with pytest.raises(DataError, match="checkpoint of other settings, data or weights; delete that folder"):
        train_here(base, tmp_path, SETTINGS.model_copy(update={"epochs": 1} | change))


@pytest.mark.parametrize("part", ["examples", "labels", "validation", "weights"])
def test_a_checkpoint_of_other_data_or_weights_is_refused(base, tmp_path, part):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    train_here(base, tmp_path, settings)
    examples, validation = examples_for_training()
    ranker = make_ranker(make_base(tmp_path / "other", seed=1) if part == "weights" else base)
    if part == "examples":
        examples = examples[1:] + examples[:1]
    if part == "labels":
        examples[0] = LabelledPrompt(examples[0].prompt, examples[0].labels[::-1])
    if part == "validation":
        validation = validation[:-1]
    with pytest.raises(DataError, match="checkpoint of other settings, data or weights"):
        train(ranker, examples, validation, settings, tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "empty"])
def test_a_damaged_checkpoint_is_refused_with_one_sentence(base, tmp_path, file, damage):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    train_here(base, tmp_path, settings)
    (checkpoint,) = tmp_path.glob("step-*")
    if damage == "missing":
        (checkpoint / file).unlink()
    else:
        content = (checkpoint / file).read_bytes()
        (checkpoint / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(DataError) as error:
        train_here(base, tmp_path, settings)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{checkpoint}: damaged checkpoint (")
    assert str(error.value).endswith("; delete that folder to train anew")


def test_training_takes_the_way_of_attention_that_it_records_whatever_scores(base, tmp_path, monkeypatch, undisturbed):
    # a run that is continued may score in a way that was measured on another day
    ranker = replace(make_ranker(base), attention="mask")
    tuned, log = train(ranker, *examples_for_training(), SETTINGS, tmp_path / "mask")
    assert adapter_of(tuned) == undisturbed[0]
    assert without_seconds(log.as_dict()) == without_seconds(undisturbed[1])
    assert log.as_dict()["attention"] == trained_state(log)["attention"] == "blocks"
    monkeypatch.setattr(training, "TRAINING_PATH", "mask")
    with pytest.raises(DataError, match="checkpoint of other settings, data or weights"):
        train_here(base, tmp_path / "mask")


@pytest.mark.parametrize("loss", ["answer", "listwise"])
def test_a_training_that_has_nothing_to_learn_or_choose_from_is_refused(base, tmp_path, loss):
    settings = SETTINGS.model_copy(update={"loss": loss})
    examples, validation = examples_for_training()
    nothing = LabelledPrompt(validation[0].prompt, (0,) * 12)
    for few, valid, what in (
        ([], validation, "training: there are no examples to train on; give one at least"),
        (examples, [], "training: there are no validation examples, which choose the best step; give one at least"),
        (examples, [validation[0], nothing], "validation example 1: no positive among its candidates; "),
    ):
        with pytest.raises(ConfigError) as error:
            train(make_ranker(base), few, valid, settings, tmp_path)
        assert str(error.value).startswith(what)


def test_a_checkpoint_holds_no_pickle(base, tmp_path):
    train_here(base, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    (checkpoint,) = tmp_path.glob("step-*")
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "best.safetensors",
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    assert load_checkpoint(tmp_path / "nothing", "", {}, None) is None


@pytest.mark.parametrize(("best_by", "kept"), [("recall", 1), ("loss", 2)])
def test_the_best_step_is_by_what_is_asked_for(base, tmp_path, monkeypatch, best_by, kept):
    """One step finds every positive, at the price of a high loss; the next has the lowest loss and finds none."""
    positive = torch.tensor([label for example in examples_for_training()[1] for label in example.labels])
    told = iter([(3.0, 0 * positive), (4.0, positive), (2.0, -positive)])

    def validate(loop):
        loss, scores = next(told, (9.0, 0 * positive))
        return torch.full((len(loop.validation),), loss), scores.float()

    monkeypatch.setattr(training._Loop, "_validate", validate)
    settings = SETTINGS.model_copy(update={"best_by": best_by, "epochs": 1})
    _, log = train_here(base, tmp_path, settings)
    assert log.best_step == log.evaluations[kept]["step"] > 0


def test_a_checkpoint_of_before_the_best_step_was_chosen_by_a_setting_is_still_taken():
    settings = TrainingConfig(learning_rate=2e-5)
    assert settings.undecided == {"best_by"}
    assert '"best_by"' not in settings.model_dump_json(exclude=settings.undecided)
    assert settings.model_copy(update={"best_by": "loss"}).undecided == set()


def test_the_best_step_by_validation_recall_is_what_comes_out(base, tmp_path, monkeypatch):
    seen = {}
    evaluate = training._Loop._evaluate

    def keeping(loop, step):
        evaluate(loop, step)
        seen[step] = {name: value.detach().flatten().tolist() for name, value in loop.parameters.items()}

    monkeypatch.setattr(training._Loop, "_evaluate", keeping)
    # a rate so high that the loss rises again and the best step is not the last
    settings = SETTINGS.model_copy(update={"learning_rate": 0.05, "epochs": 6})
    ranker, log = train_here(base, tmp_path, settings)
    recalls = {entry["step"]: entry["valid_recall"] for entry in log.evaluations}
    assert recalls[log.best_step] == max(recalls.values())
    tied = [entry for entry in log.evaluations if entry["valid_recall"] == max(recalls.values())]
    assert log.best_step == min(tied, key=lambda entry: entry["valid_loss"])["step"]
    assert log.best_step != max(recalls)
    assert adapter_of(ranker) == seen[log.best_step]
    assert valid_recall(ranker, examples_for_training()[1]) == pytest.approx(recalls[log.best_step])
    assert trained_state(log)["best_step"] == log.best_step
    assert not ranker.model.training


def test_only_the_adapter_is_trained(base, tmp_path):
    ranker, _ = train_here(base, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    before = make_ranker(base).model.state_dict()
    after = {
        name.replace(".base_layer", ""): value
        for name, value in ranker.model.get_base_model().state_dict().items()
        if "lora_" not in name
    }
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def loop_of(base, tmp_path, settings=SETTINGS):
    ranker = make_ranker(base)
    ranker = ranker.with_model(prepare(ranker.model, settings))
    loop = training._Loop(ranker, "float32", *examples_for_training(), settings, tmp_path)
    loop.log.row_tokens.append({"step": 1, "row_tokens": 100})
    return loop


def test_a_loss_that_is_no_number_stops_with_a_sentence(base, tmp_path):
    loop = loop_of(base, tmp_path)
    with torch.no_grad():
        next(iter(loop.parameters.values())).fill_(float("nan"))
    with pytest.raises(ModelError, match=r"training step 1: the loss is nan; lower training.learning_rate"):
        loop._step(1)


@pytest.mark.parametrize("loss", ["answer", "listwise"])
def test_the_loss_and_gradients_of_a_step_do_not_depend_on_its_rows(base, tmp_path, loss):
    settings = SETTINGS.model_copy(update={"lora_dropout": 0.0, "loss": loss})
    found = []
    for row_tokens in (1, 60, 1000):  # every example alone, two together, all in one row
        loop = loop_of(base, tmp_path, settings)
        with torch.no_grad():
            for parameter in loop.parameters.values():
                parameter.fill_(0.02)
        loop.log.row_tokens.append({"step": 1, "row_tokens": row_tokens})
        value = loop._gradients(1, [loop.examples[index] for index in loop.steps[0]])
        found.append((value, torch.cat([parameter.grad.flatten() for parameter in loop.parameters.values()])))
    for value, gradient in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-5 * found[0][1].abs().max().item())


def limit_memory(monkeypatch, most):
    refused = []

    def limited(model, row, last_hidden=losses.last_hidden):
        if row.ids.shape[1] > most:
            refused.append(row.ids.shape[1])
            raise torch.OutOfMemoryError("CUDA out of memory")
        return last_hidden(model, row)

    monkeypatch.setattr(losses, "last_hidden", limited)
    return refused


def test_a_run_that_is_out_of_memory_goes_on_with_smaller_rows_as_if_it_had_begun_with_them(
    base, tmp_path, monkeypatch
):
    settings = SETTINGS.model_copy(update={"row_tokens": 64, "epochs": 1})
    expected, log = train_here(base, tmp_path / "small", settings)
    refused = limit_memory(monkeypatch, 64)
    ranker, other = train_here(base, tmp_path / "large", settings.model_copy(update={"row_tokens": 128}))
    assert refused
    assert other.row_tokens == [{"step": 1, "row_tokens": 128}, {"step": 0, "row_tokens": 64}]
    assert [step["loss"] for step in other.steps] == pytest.approx([step["loss"] for step in log.steps], abs=1e-6)
    for name, values in adapter_of(expected).items():
        assert adapter_of(ranker)[name] == pytest.approx(values, abs=1e-6)
    assert trained_state(other)["row_tokens"] == 64


def test_a_step_that_runs_out_of_memory_behind_its_first_row_is_done_again_whole(base, tmp_path, monkeypatch):
    # 29 tokens each, and 64 in validation; steps of three rows, or of seven
    settings = SETTINGS.model_copy(update={"examples_per_step": 7, "row_tokens": 87})
    expected, log = train_here(base, tmp_path / "small", settings.model_copy(update={"row_tokens": 43}))
    assert log.best_step > 0  # or the adapter that is compared below would be the untrained one
    rows = []

    def failing(model, row, last_hidden=losses.last_hidden):
        rows.append(row.ids.shape[1])
        if len(rows) == 20 + 2:  # validation, a row that goes well, and the second of three
            raise torch.OutOfMemoryError("CUDA out of memory")
        return last_hidden(model, row)

    monkeypatch.setattr(losses, "last_hidden", failing)
    ranker, other = train_here(base, tmp_path / "large", settings)
    assert rows[:30] == [64] * 20 + [87, 87] + [29] * 7 + [29]
    assert other.best_step == log.best_step
    assert other.row_tokens == [{"step": 1, "row_tokens": 87}, {"step": 1, "row_tokens": 43}]
    assert [step["loss"] for step in other.steps] == pytest.approx([step["loss"] for step in log.steps], abs=1e-6)
    assert other.tokens == log.tokens
    for name, values in adapter_of(expected).items():
        assert adapter_of(ranker)[name] == pytest.approx(values, abs=1e-6)


def test_an_example_that_does_not_fit_alone_says_what_to_change(base, tmp_path, monkeypatch):
    limit_memory(monkeypatch, 20)
    with pytest.raises(ModelError) as error:
        train_here(base, tmp_path)
    assert str(error.value) == (
        "training step 0: one example of 64 tokens does not fit into memory; turn "
        "training.activation_checkpointing on, take fewer candidates or lower prompt.max_tokens"
    )


def test_an_error_that_is_not_about_memory_is_told_as_it_is(base, tmp_path, monkeypatch):
    def broken(model, row):
        raise RuntimeError("a bug")

    monkeypatch.setattr(losses, "last_hidden", broken)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        train_here(base, tmp_path)


def test_a_run_continues_with_the_rows_that_memory_allowed(base, tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"row_tokens": 128})
    limit_memory(monkeypatch, 64)
    _, log = train_here(base, tmp_path, settings)
    _, again = train_here(base, tmp_path, settings)
    assert again.row_tokens == log.row_tokens != []


def test_steps_by_tokens_see_every_example(base, tmp_path):
    settings = SETTINGS.model_copy(update={"tokens_per_step": 100, "epochs": 1})  # examples have 29 tokens
    _, log = train_here(base, tmp_path, settings)
    assert (len(log.steps), log.tokens) == (6, 24 * 29)


def test_every_weight_is_tuned_in_fp32_and_comes_out_in_the_rankers_dtype(base, tmp_path):
    ranker = make_ranker(base)
    ranker = ranker.with_model(ranker.model.to(torch.bfloat16))
    before = {name: value.clone() for name, value in ranker.model.state_dict().items()}
    settings = SETTINGS.model_copy(update={"tune": "full", "learning_rate": 3e-3, "loss": "answer"})
    tuned, log = train(ranker, *examples_for_training(), settings, tmp_path)
    assert log.best_step > 0
    assert tuned.whole
    after = tuned.model.state_dict()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    layers = [name for name in before if "layers" in name or "lm_head" in name]
    assert [name for name in layers if torch.equal(before[name], after[name])] == []
    assert np.mean([step["loss"] for step in log.steps[-4:]]) < 0.8 * np.mean([step["loss"] for step in log.steps[:4]])


def test_full_tuning_is_the_same_twice_and_after_a_kill(base, tmp_path):
    settings = SETTINGS.model_copy(update={"tune": "full", "learning_rate": 3e-3, "epochs": 2})
    once, log = train_here(base, tmp_path / "once", settings)

    def stop(done, total, loss):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_here(base, tmp_path / "twice", settings, stop)
    again, other = train_here(base, tmp_path / "twice", settings)
    assert without_seconds(other.as_dict()) == without_seconds(log.as_dict())
    state = again.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in once.model.state_dict().items())


def test_a_tuned_model_is_not_tuned_again_by_mistake(base, tmp_path, undisturbed):
    ranker = make_ranker(base)
    with pytest.raises(ModelError, match="has an adapter already; tune its base model"):
        prepare(add_lora(ranker.model, SETTINGS), SETTINGS)


def test_checkpoints_that_take_long_to_write_are_written_less_often(base, tmp_path, monkeypatch):
    clock = [0.0]
    saved = []

    def save(folder, step, log, state):
        saved.append(step)
        clock[0] += 3.0

    monkeypatch.setattr(training, "save_checkpoint", save)
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])

    def on_step(done, total, loss):
        clock[0] += 10.0

    settings = SETTINGS.model_copy(update={"epochs": 6, "evaluations_per_epoch": 1, "examples_per_step": 1})
    train_here(base, tmp_path, settings, on_step)
    # 24 steps of 10 s between evaluations: the first wait is 20 s, and then 20 times the 3 s of a checkpoint
    assert saved[:6] == [4, 11, 18, 24, 31, 38]


@pytest.mark.parametrize(
    ("family", "modules"),
    [("llama", {"q_proj", "k_proj", "v_proj", "o_proj"}), ("gpt_neox", {"query_key_value", "dense"})],
)
def test_lora_goes_into_the_attention_of_each_family_in_fp32(family, modules):
    model = add_lora(make_model(family).to(torch.bfloat16), TrainingConfig())
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == modules
    assert {value.dtype for value in trained.values()} == {torch.float32}


def test_lora_goes_where_it_is_told():
    model = add_lora(make_model("llama"), TrainingConfig(lora_modules=["up_proj"]))
    assert {
        name.split(".lora_")[0].rpartition(".")[2] for name, value in model.named_parameters() if value.requires_grad
    } == {"up_proj"}


def test_unknown_modules_are_refused_by_name():
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM has no modules named \['qq_proj'\]; set training.lora_modules"
    ):
        add_lora(make_model("llama"), TrainingConfig(lora_modules=["q_proj", "qq_proj"]))


@pytest.mark.parametrize("family", ["llama", "smollm2", "gpt_neox"])
def test_lora_on_the_output_head_which_scores_would_not_see_is_refused(family):
    attention = "query_key_value" if family == "gpt_neox" else "q_proj"
    with pytest.raises(ModelError) as error:
        add_lora(make_model(family), TrainingConfig(lora_modules=[attention, "lm_head"]))
    assert "LoRA on its output head lm_head would have no part in scores" in str(error.value)
    assert str(error.value).endswith("leave it out of training.lora_modules")
