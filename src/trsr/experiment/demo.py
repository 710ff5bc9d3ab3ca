"""The settings of `trsr demo`: sizes that two cores get through in minutes."""

from trsr.config import ExperimentConfig, parse_settings


def demo_config(quick: bool) -> ExperimentConfig:
    """The demo, or with `quick` the same shape at a fraction of its size."""
    readers, train, valid, test = (40, 8, 4, 6) if quick else (250, 100, 16, 40)
    values = {
        "name": "demo-quick" if quick else "demo",
        "methods": ["none", "hierarchical", "recurrent"],
        "data": {
            "bookshop": {"books": 300, "readers": readers},
            "attributes": ["title", "subjects"],
            "min_history": 6,
            "max_history": 10,
        },
        "split": {"by": "users", "valid": 0.2, "test": 0.3, "max_train": train, "max_valid": valid, "max_test": test},
        "candidates": {"negatives": 20, "train_negatives": 7},
        "prompt": {
            "template": "books",
            "recent_items": 2,
            "item_tokens": 32,
            "candidate_tokens": 32,
            "summary_tokens": 48,
            "max_tokens": 512,
        },
        "summaries": {"block_size": 5, "item_tokens": 32, "max_prompt_tokens": 640, "max_new_tokens": 24},
        "training": {
            "epochs": 1,
            "learning_rate": 2e-3,
            "loss": "listwise",
            "examples_per_step": 2,
            "lora_dropout": 0.0,
        },
        "checks": {"control_examples": 2 if quick else 20, "control_negatives": 4},
    }
    return parse_settings(ExperimentConfig, values, "demo")
