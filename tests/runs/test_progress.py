from __future__ import annotations

import pytest
from ignite.engine import Engine
from monai.bundle import ConfigParser

from spinefuse_ext.runs.progress import ProgressHandler, add_progress, close_lines


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"train": {"handlers": [], "trainer": {}}, "run": ["$1", "$@train#trainer.run()"]}, "train#handlers"),
        ({"validate": {"handlers": [], "evaluator": {}}, "run": ["$@validate#evaluator.run()"]}, "validate#handlers"),
        ({"handlers": [], "evaluator": {}, "run": ["$@evaluator.run()"]}, "handlers"),
    ],
)
def test_the_engine_that_a_run_starts_tells_how_far_it_is(config: dict[str, object], place: str) -> None:
    parser = ConfigParser(config)
    add_progress(parser)
    assert isinstance(parser.get_parsed_content(place)[0], ProgressHandler)


def test_the_line_stands_in_for_the_log_of_every_step() -> None:
    stats, other = {"_target_": "StatsHandler", "iteration_log": False}, {"_target_": "monai.handlers.GarbageCollector"}
    config = {"handlers": [dict(stats), other], "validate": {"handlers": [dict(stats)]}, "run": ["$@evaluator.run()"]}
    parser = ConfigParser({**config, "evaluator": {}})
    add_progress(parser)
    kinds = [type(handler).__name__ for handler in parser.get_parsed_content("handlers")]
    assert kinds == ["GarbageCollector", "ProgressHandler"]
    assert parser.get_parsed_content("validate#handlers") == []


@pytest.mark.parametrize(
    "config",
    [{"run": ["$print(1)"]}, {"run": ["$@other.run()"], "other": {}}, {"evaluator": {}, "run": "$@evaluator.run()"}],
)
def test_a_config_without_a_list_of_handlers_is_left_alone(config: dict[str, object]) -> None:
    parser = ConfigParser(dict(config))
    add_progress(parser)
    assert {name: parser[name] for name in config} == config


def test_a_training_tells_epochs_loss_and_the_metric_it_chooses_by(capsys: pytest.CaptureFixture[str]) -> None:
    validator = Engine(lambda engine, batch: batch)
    validator.state.key_metric_name = "val_mean_dice"  # type: ignore[attr-defined]
    validator.state.metrics, validator.state.best_metric = {"val_mean_dice": 0.5}, 0.75  # type: ignore[attr-defined]
    trainer = Engine(lambda engine, batch: [{"loss": 0.25}])
    ProgressHandler(trains=True, validator=validator).attach(trainer)
    trainer.run([1, 2], max_epochs=3)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("Training: 100% (3/3 epochs, ")
    assert "loss=0.25, val_mean_dice=0.5, best=0.75" in line


def test_an_inference_tells_cases_and_is_silent_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    for cases in (1, 2):
        evaluator = Engine(lambda engine, batch: batch)
        ProgressHandler().attach(evaluator)
        evaluator.run([0] * cases)
        close_lines()
        assert ("Cases: 100%" in capsys.readouterr().err) == (cases > 1)
