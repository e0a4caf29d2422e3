from __future__ import annotations

from typing import Any

import pytest

from spinefuse_ext.monai_label.origins import origin_list, outside, refusal, started_for
from spinefuse_ext.monai_label.places import check_ending, check_inside
from spinefuse_ext.monai_label.requests import checked, refuse_places, registration_settings
from spinefuse_ext.validation import ConfigError

EVIL = "$__import__('os').system('touch marker')"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"registration_model": ["rigid", "affine"]}, {"registration_model": "rigid"}),
        ({"registration_model": ""}, {"registration_model": None}),
        ({"registration_refine": "false"}, {"registration_refine": False}),
        ({"registration_refine": [True]}, {"registration_refine": True}),
        ({"device": ["cuda:1"]}, {"device": "cuda:1"}),
        ({"device": None}, {"device": None}),
        ({"max_epochs": "3"}, {"max_epochs": 3}),
        ({"val_split": "0.2"}, {"val_split": 0.2}),
        ({"gpus": "0,1"}, {"gpus": "0,1"}),
        ({"model_filename": ["model.pt", "model_final.pt"]}, {"model_filename": "model.pt"}),
        ({"result_dtype": None, "result_extension": ".nrrd"}, {"result_dtype": None, "result_extension": ".nrrd"}),
        ({"tracking": ["None", "mlflow"], "tracking_uri": "", "run_id": ""}, {"tracking": "None", "tracking_uri": ""}),
        ({"logging": "warning", "result_compress": False}, {"logging": "WARNING", "result_compress": False}),
        ({"images": "unlabeled"}, {"images": "unlabeled"}),
        ({"ct_landmarks": "$a", "mr_landmarks": "@b"}, {"landmarks_ct": "$a", "landmarks_mr": "@b"}),
        ({"landmarks_ct": "a", "landmarks_mr": "b"}, {"landmarks_ct": "a", "landmarks_mr": "b"}),
        (
            {"image": "$a #1_ct", "mr": "@b", "client_id": "anna@x.org"},
            {"image": "$a #1_ct", "mr": "@b", "client_id": "anna@x.org"},
        ),
        (
            {"label_info": [{"name": "disc", "color": [1, 2, 3]}]},
            {"label_info": [{"name": "disc", "color": [1, 2, 3]}]},
        ),
    ],
)
def test_a_value_has_the_type_that_its_name_asks_for(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert checked(given) == made


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("registration_model", "elastic", "setting registration_model cannot be 'elastic'"),
        ("registration_model", "afine", "did you mean 'affine'"),
        ("registration_model", 3, "is a text, got 3"),
        ("registration_refine", "maybe", "is true or false"),
        ("device", "gpu; rm", "it is cpu, mps, cuda or cuda:N"),
        ("max_epochs", 1.5, "a whole number from 1"),
        ("max_epochs", True, "is a number"),
        ("max_epochs", float("nan"), "is a number"),
        ("val_split", 1, "below 1"),
        ("gpus", "0;1", "numbers with commas"),
        ("model_filename", "../model.pt", "a plain name"),
        ("model_filename", "/etc/passwd", "a plain name"),
        ("label_tag", "..", "a plain name"),
        ("result_extension", ".py", "It is one of"),
        ("result_dtype", "O", "a type of numbers"),
        ("tracking_uri", "http://elsewhere", "that of the server"),
        ("run_id", "initialize", "it is run"),
        ("images", {"a": 1}, "a list of images"),
        ("image", ["a"], "must name the image by a text"),
        ("mr", {"_target_": "x"}, "must name the mr by a text"),
        ("mr", "ü" * 200, "which no file can be called"),
        ("unknown", EVIL, "which a config would evaluate"),
        ("unknown", {"_target_": "os.system"}, "means something else in a config"),
    ],
)
def test_what_is_no_choice_is_one_sentence(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        checked({name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["registration_model", "registration_refine", "device", "keep_fused", "max_epochs", "gpus"]
)
@pytest.mark.parametrize(
    "value", [EVIL, [EVIL], {"_target_": "os.system", "command": "x"}, [[EVIL]], f" {EVIL}", "@device"]
)
def test_nothing_that_evaluates_passes(name: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        checked({name: value})


def test_a_config_gets_a_model_and_a_truth_value_and_nothing_else() -> None:
    expected = {"registration_model": "affine", "registration_refine": True}
    assert registration_settings({"registration_model": ["affine"], "registration_refine": "true"}) == expected
    assert registration_settings({"device": EVIL}) == {"registration_model": "rigid", "registration_refine": False}
    with pytest.raises(ConfigError):
        registration_settings({"registration_model": EVIL})


def test_where_code_lies_is_not_for_clients() -> None:
    with pytest.raises(ConfigError, match="the server's own"):
        refuse_places({"bundle_path": "/tmp"})


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "a\\b", "..", "", " ", ".a", "a\x00", "a\n", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="is a plain name"):
        check_inside(tmp_path, name)


def test_a_plain_name_is_a_file_of_the_folder(tmp_path: Any) -> None:
    assert check_inside(tmp_path, "$a #1 ü_ct.nii.gz") == tmp_path / "$a #1 ü_ct.nii.gz"
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere")
    with pytest.raises(ConfigError, match="by a link"):
        check_inside(tmp_path, "link")


def test_only_named_endings_are_taken() -> None:
    assert check_ending("a.b.NII.GZ", [".gz", ".nii.gz"], "an image") == ".nii.gz"
    for name in ("a.py", "a", "nii.gz.py", "a.nii.gz/"):
        with pytest.raises(ConfigError, match=r"is not an image; send \.nii\.gz"):
            check_ending(name + "x", [".nii.gz"], "an image")


def headers(host: str = "127.0.0.1:8000", origin: str | None = None) -> dict[str, str]:
    return {"host": host} | ({"origin": origin} if origin is not None else {})


@pytest.mark.parametrize(
    "asked",
    [
        headers(),
        headers(origin="http://127.0.0.1:8000"),
        headers("localhost:8000", "http://localhost:8000"),
        headers("[::1]:8000", "http://[::1]:8000"),
        headers("10.1.2.3:8000", "http://10.1.2.3:8000"),
        headers(origin="http://viewer.org:3000"),
        headers("viewer.org:3000"),
        {},
    ],
)
def test_own_pages_and_named_ones_are_answered(asked: dict[str, str]) -> None:
    assert refusal(asked, ["http://viewer.org:3000"]) is None


@pytest.mark.parametrize(
    "asked",
    [
        headers(origin="http://evil.org"),
        headers(origin="null"),
        headers(origin="http://127.0.0.1:8001"),
        headers(origin="http://viewer.org"),
        headers(origin="http://127.0.0.1:8000.evil.org"),
        headers("evil.org:8000", "http://evil.org:8000"),
        headers("127.0.0.1.evil.org"),
        headers("[::1"),
        headers(origin="http://[::1"),
    ],
)
def test_pages_of_others_are_not(asked: dict[str, str]) -> None:
    assert "--origins" in str(refusal(asked, ["http://viewer.org:3000"]))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::1%lo", None, "/run/server.sock"])
def test_this_computer_is_always_answered(address: str | None) -> None:
    assert outside(address) is None


@pytest.mark.parametrize("address", ["192.168.1.5", "10.0.0.1", "fe80::1%eth0", "8.8.8.8"])
def test_a_network_is_answered_when_an_address_was_told(address: str) -> None:
    assert "start it with --host" in str(outside(address))
    assert started_for(["monailabel", "start_server", "--host", "0.0.0.0"])
    assert started_for(["monailabel", "start_server", "-i", "0.0.0.0"])
    assert started_for(["--host=0.0.0.0"])
    assert not started_for(["monailabel", "start_server", "--app", "x"])


def test_origins_are_addresses() -> None:
    assert origin_list("http://A.org:3000/, https://b.org") == ["http://a.org:3000", "https://b.org"]
    assert origin_list(()) == []
    for text in ("*", "a.org", "http://a.org/path", "http://*.org", "javascript:x", "null"):
        with pytest.raises(ConfigError, match="--origins cannot hold"):
            origin_list(text)
