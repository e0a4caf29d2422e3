from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject

from spinefuse_ext.__main__ import main
from spinefuse_ext.federated import average_weights, federate, plan_federation
from spinefuse_ext.plain_errors import plain_message

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL: dict[str, dict[str, Any]] = {
    "fusion": {
        "canvas": [64, 72],
        "patch_size": [32, 32],
        "batch_size": 4,
        "crops_per_case": 2,
        "stage1_epochs": 1,
        "network_def#dim": 8,
        "network_def#num_blocks": [1, 1],
        "network_def#num_heads": 2,
        "device": "cpu",
    },
    "semiseg": {
        "canvas": [64, 80],
        "crops_per_case": 4,
        "learning_rate": 0.03,
        "unet_channels": [4, 4, 8, 8, 8],
        "vnet_channels": [4, 4, 8, 8, 8],
        "device": "cpu",
    },
}
KEY_METRIC = {"fusion": "val_visual_information_fidelity", "semiseg": "val_mean_dice"}

tasks = pytest.mark.parametrize("task", SMALL)


@pytest.fixture(scope="module")
def hospitals(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two folders of cases: ``north`` trains on four, ``south`` on two of them."""
    root = tmp_path_factory.mktemp("hospitals")
    listed = json.loads((cohort / "datalist.json").read_text(encoding="utf-8"))
    fewer = {section: listed[section][:1] for section in ("labelled", "unlabelled")}
    lists = {"north": listed, "south": {**listed, **fewer}}
    for name, content in lists.items():
        (root / name).mkdir()
        for case in cohort.glob("case_*"):
            (root / name / case.name).symlink_to(case)
        (root / name / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    return {name: root / name for name in lists}


def state_of(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@pytest.mark.slow
@tasks
def test_the_federated_client_of_monai_runs_the_bundle_as_it_is(
    task: str, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the client says where the bundle is, not the working folder
    places = {"dataset_dir": str(cohort), "ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    settings = {**places, **SMALL[task]}
    client = MonaiAlgo(
        str(BUNDLES / f"spine_{task}"),
        send_weight_diff=False,
        train_kwargs=dict(settings),
        eval_kwargs=dict(settings),
        final_model_filepath=str(tmp_path / "models" / "model_final.pt"),
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: "north", ExtraItems.APP_ROOT: ""})
    assert client.trainer is not None
    start = {name: tensor.clone() for name, tensor in client.trainer.network.state_dict().items()}
    for _ in range(2):
        client.train(ExchangeObject(weights=start), extra={})
    assert client.trainer.state.epoch == 2
    sent = client.get_weights(extra={}).weights
    assert sent.keys() == start.keys()
    assert any(not torch.equal(sent[name], start[name]) for name in start)
    last = client.get_weights(extra={ExtraItems.MODEL_TYPE: ModelType.FINAL_MODEL}).weights
    assert all(torch.equal(last[name], sent[name]) for name in sent)
    scores = [dict(client.evaluate(ExchangeObject(weights=weights), extra={}).metrics) for weights in (start, sent)]
    assert KEY_METRIC[task] in scores[0]
    assert scores[0] != scores[1]  # the weights that were sent are those that were scored
    assert (tmp_path / "eval" / f"{KEY_METRIC[task]}_raw.csv").is_file()
    client.finalize()


@pytest.mark.slow
@tasks
def test_one_command_trains_across_hospitals(
    task: str, hospitals: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"sites": ",".join(map(str, hospitals.values())), "out": str(tmp_path / "run")}
    options = [f"--{name}={value}" for name, value in {**places, **SMALL[task]}.items()]
    alone = task == "semiseg"
    main(["federate", task, "--rounds=2", f"--alone={alone}", *options])
    run, told = tmp_path / "run", capsys.readouterr().out.splitlines()
    assert told[0] == "north: 4 training, 1 validation, south: 2 training, 1 validation"
    assert told[-1] == (run / "verdict.txt").read_text(encoding="utf-8").strip()
    rounds = [state_of(run / "models" / name) for name in ("round_01.pt", "round_02.pt", "model_final.pt")]
    sites = {name: state_of(run / "sites" / name / "models" / "model_final.pt") for name in hospitals}
    expected = average_weights(sites, {"north": 4, "south": 2})
    for name, tensor in expected.items():
        assert torch.equal(rounds[1][name], tensor)
        assert torch.equal(rounds[2][name], tensor)
    assert any(not torch.equal(rounds[0][name], rounds[1][name]) for name in expected)
    rows = list(csv.DictReader((run / "scores.csv").open(encoding="utf-8")))
    models = ["local", "local", "global"] * 2 + ["alone", "alone"] * alone
    assert [row["model"] for row in rows[::3]] == models
    assert all(0 <= float(row[KEY_METRIC[task]]) < 1.5 for row in rows)
    assert (run / "alone").exists() == alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "--rounds must be a whole number from 1, got 0"),
        ({"epochs_per_round": 0.5}, "--epochs_per_round must be a whole number from 1, got 0.5"),
        ({"sites": "north"}, "needs 2 sites or more, each a folder of another name .* got north;"),
        ({"sites": ["north", "copy/north"]}, "got north, north;"),
        ({"sites": "north,nowhere"}, "The folder of a site nowhere does not exist"),
        ({"out": "used"}, "used is in use; name a new folder with --out"),
        ({"task": "segment"}, "Unknown task segment; choose one of fusion, semiseg"),
        ({"epochs": 5}, "A federation sets epochs itself; leave --epochs out"),
        ({"resume": "latest"}, "A federation sets resume itself"),
        ({"netwrok_def#dim": 8}, "No config defines netwrok_def, so"),
        ({"epoch": 5}, "No config defines the setting epoch, .* Did you mean epochs"),
        ({"delta": "gone.json"}, "The config file .*gone.json does not exist"),
        ({"task": "fusion", "rounds": 4, "stage1_epochs": 4}, "stage1_epochs is 4, so 4 epochs"),
        ({}, "The datalist of site north .*datalist.json does not exist"),
    ],
)
def test_bad_input_trains_nothing(
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("north", "south", "copy/north", "used/models"):
        (tmp_path / folder).mkdir(parents=True)
    given: dict[str, Any] = {"task": "semiseg", "sites": ["north", "south"], "out": "run", **options}
    with pytest.raises(Exception) as refused:  # noqa: PT011 (MONAI wraps what happens while it builds a config)
        federate(**given)
    told = plain_message(refused.value)
    assert re.search(message, told or ""), told
    assert not list(tmp_path.rglob("*.pt"))


def test_schedules_are_laid_over_all_rounds() -> None:
    plan = plan_federation(BUNDLES / "spine_semiseg", 12)
    assert plan.settings["epochs"] == plan.settings["train#trainer#planned_epochs"] == 12
    assert "train#trainer#planned_epochs" not in plan_federation(BUNDLES / "spine_fusion", 40).settings
