from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from spinefuse_ext.__main__ import main
from spinefuse_ext.handlers.checkpoints import stored_devices
from spinefuse_ext.monai_label.bundles import BundleSource, provide_bundle
from spinefuse_ext.monai_label.server import label_server
from spinefuse_ext.validation import ArchiveError, ConfigError, WeightsError

ROOT = Path(__file__).parents[2]
NAME = "spine_semiseg"


def make_bundle(folder: Path, name: str = NAME, seed: int = 0) -> Path:
    """A bundle with a tiny network and random weights, and what a release adds to it."""
    bundle = folder / name
    shutil.copytree(ROOT / "bundles" / name, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    path = bundle / "configs" / "inference.json"
    parser = ConfigParser(ConfigParser.load_config_file(path))
    small = {"unet_channels": [2] * 5, "vnet_channels": [2] * 5, "network_def#dim": 4, "network_def#num_blocks": [1, 1]}
    for key, value in {**small, "network_def#num_heads": 1}.items():
        if key in parser:
            parser[key] = value
    ConfigParser.export_config_file(parser.config, str(path), indent=4)
    torch.manual_seed(seed)
    (bundle / "models").mkdir()
    torch.save(parser.get_parsed_content("network_def").state_dict(), bundle / "models" / "model.pt")
    (bundle / "spinefuse_ext").mkdir()
    (bundle / "spinefuse_ext" / "__init__.py").write_text("")
    (bundle / "eval").mkdir()
    return bundle


def publish(archive: Path, checksum: str | None = None) -> Path:
    """The checksum of an archive beside it, as `spinefuse pack` writes it."""
    path = archive.with_name(archive.name.replace("_v", "-").replace(".zip", ".sha256"))
    path.write_text(f"{checksum or hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
    return path


def make_archive(bundle: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for path in bundle.rglob("*"):
            archive.write(path, path.relative_to(bundle.parent))
    return to


def test_a_folder_is_copied_once_and_then_left_alone(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "from")
    source = BundleSource(folder=str(tmp_path / "from"))
    target = provide_bundle(NAME, tmp_path / "app", source)
    assert target == tmp_path / "app" / NAME
    assert not (target / "eval").exists()
    trained = torch.load(target / "models" / "model.pt")
    trained = {name: value + 1 if value.is_floating_point() else value for name, value in trained.items()}
    torch.save(trained, target / "models" / "model.pt")
    provide_bundle(NAME, tmp_path / "app", source, weights=bundle / "models" / "model.pt")
    kept = torch.load(target / "models" / "model.pt")
    assert all(torch.equal(kept[name], trained[name]) for name in trained)


def test_the_newest_archive_of_a_folder_is_taken(tmp_path: Path) -> None:
    for version, seed in (("0.9.0", 1), ("0.10.0", 2)):
        make_archive(make_bundle(tmp_path / version, seed=seed), tmp_path / f"{NAME}_v{version}.zip")
    target = provide_bundle(NAME, tmp_path / "app", BundleSource(folder=str(tmp_path)))
    expected, found = (torch.load(p / "models" / "model.pt") for p in (tmp_path / "0.10.0" / NAME, target))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not (target / "spinefuse_ext").exists(), "the installed package shall be used"


def test_an_address_with_the_name_in_it(tmp_path: Path) -> None:
    publish(make_archive(make_bundle(tmp_path / "from"), tmp_path / f"{NAME}_v1.0.0.zip"))
    address = (tmp_path / "{name}_v1.0.0.zip").as_uri().replace("%7B", "{").replace("%7D", "}")
    assert (provide_bundle(NAME, tmp_path / "app", BundleSource(url=address)) / "models" / "model.pt").is_file()
    with pytest.raises(ConfigError, match=r"cannot be downloaded from the address .*absent"):
        provide_bundle("absent", tmp_path / "app", BundleSource(url=(tmp_path / "absent.zip").as_uri()))
    assert not (tmp_path / "app" / "absent").exists()


def test_a_download_has_the_checksum_that_is_known_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = make_archive(make_bundle(tmp_path / "from"), tmp_path / f"{NAME}_v1.0.0.zip")

    def provide(app: str, checksums: str | None = None) -> Path:
        return provide_bundle(NAME, tmp_path / app, BundleSource(url=archive.as_uri(), checksums=checksums))

    with pytest.raises(ConfigError, match=r"No checksum is known of spine_semiseg_v1.0.0.zip .*--checksums FILE"):
        provide("unknown")
    stated = publish(archive)
    assert (provide("published") / "models").is_dir()
    stated.rename(tmp_path / "mine.sha256")
    assert (provide("stated", str(tmp_path / "mine.sha256")) / "models").is_dir()
    for checksums in (None, str(publish(archive, "0" * 64))):
        with pytest.raises(ConfigError, match=rf"has the SHA-256 [0-9a-f]{{64}}, but .*-1.0.0.sha256 says {'0' * 64}"):
            provide("tampered", checksums)
    caplog.set_level("WARNING")
    assert (provide("taken", "none") / "models").is_dir()
    assert "its checksum was not looked at" in caplog.text
    assert not (tmp_path / "tampered").joinpath(NAME).exists()


def test_an_archive_on_this_computer_has_the_checksum_that_lies_beside_it(tmp_path: Path) -> None:
    publish(make_archive(make_bundle(tmp_path / "from"), tmp_path / f"{NAME}_v1.0.0.zip"), "0" * 64)
    with pytest.raises(ConfigError, match="it was not used"):
        provide_bundle(NAME, tmp_path / "app", BundleSource(folder=str(tmp_path)))


def test_a_release_on_github_has_its_checksum_among_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "from")

    def download(name: str, version: str, bundle_dir: str, **options: object) -> None:
        assert options == {"source": "github", "repo": "owner/name/tag", "progress": False}
        make_archive(tmp_path / "from" / name, Path(bundle_dir) / f"{name}_v{version}.zip")

    monkeypatch.setattr("spinefuse_ext.monai_label.bundles.download", download)
    monkeypatch.setattr("spinefuse_ext.monai_label.bundles.RELEASES", tmp_path.as_uri() + "/{}/{}/{}")
    release = tmp_path / "owner" / "name" / "tag"
    release.mkdir(parents=True)
    source = BundleSource(repo="owner/name/tag", version="1.0.0")
    with pytest.raises(ConfigError, match="No checksum is known of"):
        provide_bundle(NAME, tmp_path / "app", source)
    publish(make_archive(tmp_path / "from" / NAME, release / f"{NAME}_v1.0.0.zip"))
    assert (provide_bundle(NAME, tmp_path / "app", source) / "models").is_dir()
    with pytest.raises(ConfigError, match="Hugging Face Hub come without a checksum"):
        provide_bundle(NAME, tmp_path / "other", BundleSource(repo="owner/name"))


def test_an_archive_that_leads_out_of_its_folder_is_not_unpacked(tmp_path: Path) -> None:
    archive = make_archive(make_bundle(tmp_path / "from"), tmp_path / f"{NAME}_v1.0.0.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../../escaped.txt", "x")
    with pytest.raises(ArchiveError, match=r"holds ../../escaped.txt, which is a link or leads out of its folder"):
        provide_bundle(NAME, tmp_path / "app", BundleSource(folder=str(tmp_path)))
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not (tmp_path / "app" / NAME).exists()


def test_given_weights_take_the_place_of_the_bundles_own(tmp_path: Path) -> None:
    make_bundle(tmp_path / "from")
    other = make_bundle(tmp_path / "other", seed=5) / "models" / "model.pt"
    target = provide_bundle(NAME, tmp_path / "app", BundleSource(folder=str(tmp_path / "from")), weights=other)
    assert (target / "models" / "model.pt").read_bytes() == other.read_bytes()


def test_weights_that_a_gpu_saved_are_stored_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are copied, those that are given, and those that lie in the app already."""
    make_bundle(tmp_path / "from")
    other = make_bundle(tmp_path / "other", seed=5) / "models" / "model.pt"
    expected = torch.load(other, weights_only=True)
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        torch.save(expected, other)
        torch.save(expected, tmp_path / "from" / NAME / "models" / "model.pt")
    source = BundleSource(folder=str(tmp_path / "from"))
    copied, given = (
        provide_bundle(NAME, tmp_path / "a", source),
        provide_bundle(NAME, tmp_path / "b", source, weights=other),
    )
    shutil.copyfile(other, copied / "models" / "model.pt")
    provide_bundle(NAME, tmp_path / "a", source)
    for bundle in (copied, given):
        found = torch.load(bundle / "models" / "model.pt", weights_only=True)
        assert stored_devices(bundle / "models" / "model.pt") == {"cpu"}
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_no_weights_or_foreign_ones_leave_no_half_bundle(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "from")
    source = BundleSource(folder=str(tmp_path / "from"))
    torch.save({"a": torch.zeros(1)}, bundle / "models" / "model.pt")
    with pytest.raises(WeightsError, match="belongs to another network"):
        provide_bundle(NAME, tmp_path / "app", source)
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(ConfigError, match=r"spine_semiseg has no weights .*--checkpoint"):
        provide_bundle(NAME, tmp_path / "app", source)
    assert not (tmp_path / "app" / NAME).exists()


def test_a_folder_without_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither the bundle spine_semiseg nor an archive"):
        provide_bundle(NAME, tmp_path / "app", BundleSource(folder=str(tmp_path)))


def test_the_settings_of_monai_label_name_the_source() -> None:
    conf = {"bundles": "b", "zoo_repo": "o/r/t", "zoo_url": "", "models": "x"}
    assert BundleSource.of(conf) == BundleSource(folder="b", repo="o/r/t")


def test_the_verb_says_how_to_install_monai_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spinefuse_ext.monai_label.server.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["label-server", "--studies", str(tmp_path)])
    assert "`make monailabel` installs it" in capsys.readouterr().err


def test_a_dry_run_makes_an_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinefuse_ext.monai_label.server.find_spec", lambda name: True)
    for name in ("spine_fusion", NAME):
        make_bundle(tmp_path / "from", name)
    label_server(str(tmp_path), app=str(tmp_path / "app"), bundles=str(tmp_path / "from"), dry_run=True)
    assert {path.name for path in (tmp_path / "app").iterdir()} == {"main.py", "model"}
    assert "SpineLabelApp" in (tmp_path / "app" / "main.py").read_text()
