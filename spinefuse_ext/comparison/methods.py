"""What each method of a comparison is run with: its own configs and settings, and those that are given for all."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator

from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.validation import ConfigError

#: Settings that a comparison gives each method itself; a network without corrections refuses the last two.
OWN_SETTINGS = (
    *("bundle_root", "ckpt_dir", "output_dir", "checkpoint"),
    *("network_def", "network_def#threshold", "network_def#tone_reach"),
)
NETWORK = "network_def"


@dataclass(frozen=True)
class Method:
    """One way to do a bundle's work, and what it is run with.

    Args:
        deltas: configs of the bundle on top of ``train.json`` and ``inference.json``.
        training_deltas: those that only its training needs.
        trains: whether it has weights to train.
        settings: of its own, by config id, in both runs; nobody else can set these ids.
        reference: no competitor but a mark to read the table by; run only when it is named, and never ranked.
    """

    deltas: tuple[str, ...] = ()
    training_deltas: tuple[str, ...] = ()
    trains: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: bool = False


#: The methods of one comparison by name, in the order of its table.
Methods = Mapping[str, Method]


@dataclass(frozen=True)
class MethodPlan:
    """The configs and overrides that one method is trained (None: nothing to train) and does its work with."""

    name: str
    training_files: tuple[str, ...]
    training: dict[str, Any] | None
    inference_files: tuple[str, ...]
    inference: dict[str, Any]
    seed: int | None = None

    @property
    def folder(self) -> str:
        """Where its results lie in the folder of the comparison: by name, and by seed when it is run with several."""
        return self.name if self.seed is None else f"{self.name}/seed_{self.seed}"

    @property
    def title(self) -> str:
        """The method, and the seed when it is run with several, in words."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    def with_seed(self, seed: int) -> MethodPlan:
        """The same runs with one seed of several."""
        given = {"seed": seed}
        training = None if self.training is None else {**self.training, **given}
        return replace(self, training=training, inference={**self.inference, **given}, seed=seed)

    def settings(self, bundle: Path) -> dict[str, Any]:
        """Every setting of both runs, by id: what decides the method's result."""
        parts = {"inference": bundle_config(bundle, self.inference_files, self.inference)}
        if self.training is not None:
            parts["train"] = bundle_config(bundle, self.training_files, self.training)
        return flat(parts)


def choose_methods(names: str | Sequence[str] | None, methods: Methods) -> list[str]:
    """Check names of ``methods``, given as a list or with commas between them; None takes all but the references.

    Raises:
        ConfigError: no name, one that is not known, or one twice.
    """
    if names is None:
        names = [name for name, method in methods.items() if not method.reference]
    listed = names.split(",") if isinstance(names, str) else names
    chosen = [str(name).strip() for name in listed]
    known = ", ".join(methods)
    unknown = [name for name in chosen if name not in methods]
    if unknown:
        raise ConfigError(f"Unknown method {', '.join(unknown)}; choose from {known}.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"A comparison needs each method once, got {', '.join(chosen) or 'none'}; choose from {known}."
        )
    return chosen


def plan_methods(methods: Methods, bundle: Path, overrides: Mapping[str, Any]) -> list[MethodPlan]:
    """Give every method the same overrides: each run gets those whose id its configs hold.

    What lies below ``network_def`` goes to the methods whose network has such an argument, for networks differ; what a
    method's delta sets instead of the base config (the length of a stage that it does not have) stays the method's.

    Raises:
        MissingPathError: the bundle lacks a method's config.
        ConfigError: an override that the comparison sets itself, or that no config or network of these methods knows.
    """
    own = {*OWN_SETTINGS, *(name for method in methods.values() for name in method.settings)}
    taken_over = next((name for name in overrides if name in own), None)
    if taken_over:
        raise ConfigError(f"`spinefuse compare` sets {taken_over} for each method itself; leave --{taken_over} out.")
    plans = [_plan(name, method, bundle, overrides) for name, method in methods.items()]
    taken = {name for plan in plans for run in (plan.training or {}, plan.inference) for name in run}
    known = {name for file in ("train.json", "inference.json") for name in bundle_config(bundle, (file,))}
    for name in overrides:
        top = name.partition("#")[0]
        if name not in taken and (top == NETWORK or top not in known):
            near = difflib.get_close_matches(top, sorted(known), n=1)
            hint = f" Did you mean {near[0]}?" if near and near[0] != top else ""
            raise ConfigError(f"None of the methods {', '.join(methods)} has the setting {name}.{hint}")
    return plans


def _plan(name: str, method: Method, bundle: Path, overrides: Mapping[str, Any]) -> MethodPlan:
    training_files = ("train.json", *method.deltas, *method.training_deltas)
    inference_files = ("inference.json", *method.deltas)
    training, inference = (
        {**_accepted(bundle, files, overrides), **method.settings} for files in (training_files, inference_files)
    )
    return MethodPlan(name, training_files, training if method.trains else None, inference_files, inference)


def _accepted(bundle: Path, files: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that a run knows, without those that a method's delta replaces: they belong to the method."""
    base, config = bundle_config(bundle, files[:1]), bundle_config(bundle, files)
    kept = {name for name in overrides if "#" not in name and name in base and base[name] != config.get(name)}
    return {name: value for name, value in overrides.items() if name not in kept and _has(config, name)}


def _has(config: Mapping[str, Any], name: str) -> bool:
    """Whether a config defines the place of a setting; below ``network_def`` it may be an argument not given so far."""
    top, *places = name.split("#")
    if top != NETWORK or not places:
        return top in config
    place: Any = config[NETWORK]
    for part in places[:-1]:
        place = place.get(part) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping):
        return isinstance(place, list)
    return places[-1] in place or places[-1] in _arguments(str(place.get("_target_")))


def _arguments(target: str) -> Collection[str]:
    found = ComponentLocator().get_component_module_name(target)
    network: Any = locate(f"{found}.{target}" if isinstance(found, str) else target)
    if network is None:
        raise ConfigError(f"The network {target} cannot be imported; check network_def.")
    return inspect.signature(network).parameters


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, ``{"train#epochs": 3}``; lists are leaves unless they hold mappings."""
    if isinstance(settings, Mapping):
        pairs = [(str(name), value) for name, value in settings.items()]
    elif isinstance(settings, list) and any(isinstance(value, Mapping) for value in settings):
        pairs = [(str(place), value) for place, value in enumerate(settings)]
    else:
        return {prefix: settings}
    return {
        inner: leaf
        for name, value in pairs
        for inner, leaf in flat(value, f"{prefix}#{name}" if prefix else name).items()
    }
