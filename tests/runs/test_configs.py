from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from spinefuse_ext.runs.command import check_settings
from spinefuse_ext.runs.configs import merged_configs, read_config
from spinefuse_ext.validation import UnknownSettingError

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every config file that is read."""
    found: list[str] = []
    load = ConfigParser.load_config_file.__func__  # type: ignore[attr-defined]

    def note(cls: type[ConfigParser], filepath: str | Path, **options: object) -> object:
        found.append(Path(filepath).name)
        return load(cls, filepath, **options)

    monkeypatch.setattr(ConfigParser, "load_config_file", classmethod(note))
    return found


def test_files_are_merged_as_monai_merges_them() -> None:
    configs = BUNDLES / "spine_semiseg" / "configs"
    files = [str(configs / name) for name in ("train.json", "ua_mt.json", "evaluate.json")]
    plain = ConfigParser()
    plain.read_config(files)
    assert merged_configs(files).get() == plain.get()


def test_a_file_is_read_again_when_it_changed_and_nobody_spoils_it(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"sizes": [1]}')
    read_config(path)["sizes"].append(2)
    assert read_config(path) == {"sizes": [1]}
    assert reads == ["a.json"]
    path.write_text('{"sizes": [1, 2, 3]}')
    assert read_config(path) == {"sizes": [1, 2, 3]}


def test_the_check_of_one_override_reads_the_complete_configs_once(tmp_path: Path, reads: list[str]) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    for path in (BUNDLES / "spine_fusion" / "configs").glob("*.json"):
        (configs / path.name).write_text(path.read_text())
    for _ in range(3):
        check_settings(tmp_path, ["train.json"], {"epochs": 2})
    assert sorted(reads) == ["inference.json", "train.json"]


def test_what_only_a_delta_defines_is_known_and_a_misspelt_name_is_not(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "train.json").write_text(json.dumps({"bundle_root": ".", "epochs": 3, "run": ["$print(@epochs)"]}))
    (configs / "method.json").write_text(json.dumps({"temperature": 0.5}))
    check_settings(tmp_path, ["train.json", "method.json"], {"temperature": 0.1, "epochs": 2})
    with pytest.raises(UnknownSettingError, match="Did you mean temperature") as refused:
        check_settings(tmp_path, ["train.json", "method.json"], {"temprature": 0.1})
    assert (refused.value.name, refused.value.near) == ("temprature", "temperature")
