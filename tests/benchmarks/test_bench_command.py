"""`trsr bench` as a user types it."""

import json

SIZES = ("--prefix", "20", "--suffix", "4", "--repeats", "1", "--dtype", "float32")


def test_json_is_a_list_of_rows_and_the_plot_is_written(trsr, tiny_model, tmp_path):
    plot = tmp_path / "growth.svg"
    outcome = trsr(
        *("bench", "score", "--model", tiny_model, *SIZES, "--candidates", "2", "--candidates", "3"),
        *("--method", "trsr", "--method", "limit", "--plot", plot, "--json"),
    )
    assert outcome.code == 0
    rows = json.loads(outcome.out)
    assert [(row["method"], row["candidates"], row["tokens"]) for row in rows] == [
        *(("trsr", 2, 28), ("limit", 2, 28), ("trsr", 3, 32), ("limit", 3, 32)),
    ]
    assert plot.read_text(encoding="utf-8").startswith("<svg ")


def test_training_prints_a_table_that_says_what_its_numbers_are(trsr, tiny_model):
    outcome = trsr("bench", "train", "--model", tiny_model, *SIZES, "--candidates", "2", "--lora-r", "2")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"training, binary loss: {tiny_model}, float32, ")
    assert [line.split()[0] for line in lines if " 20 " in line] == ["separate", "trsr", "limit"]
    assert any(line.startswith("peak MB: ") for line in lines)


def test_wrong_options_are_one_sentence_before_anything_is_measured(trsr, tiny_model, tmp_path):
    for arguments, said in (
        (("score", "--method", "magic"), "--method: no method 'magic'; take published, batched, crossencoder, "),
        (("train", "--method", "batched"), "--method: no method 'batched'; take separate, trsr, limit"),
        (("score", "--dtype", "int8"), "--dtype: no dtype 'int8'; take auto, float32, bfloat16, float16"),
        (("score", "--attention", "eager"), "--attention: no attention 'eager'; take auto, measure, blocks, mask, "),
        (("train", "--loss", "answer"), "--loss: no loss 'answer' of the two answers; take binary, listwise, "),
        (("score", "--random-weights", "900b"), "--random-weights: no size '900b'; take 7b"),
        (("score", "--plot", tmp_path), f"--plot {tmp_path}: give the name of an .svg file in a folder that is"),
        (
            ("score", "--prefix", "8190"),
            "--prefix and --suffix: prompts of 8260 tokens, but the model has a ",
        ),
    ):
        outcome = trsr("bench", arguments[0], "--model", tiny_model, *arguments[1:])
        assert outcome.code == 2
        assert outcome.complaint.startswith(said)
