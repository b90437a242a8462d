"""Tests of how people write a configuration: what overrides what, bad files and options, the JSON schema."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mzsr.config import MetaConfig, PretrainConfig, TrainConfig, field_paths
from mzsr.errors import InputError
from mzsr.presets import META, PRETRAIN
from mzsr.settings import json_schema, load_config

ROOT = Path(__file__).resolve().parent.parent


def smoke(*overrides: str, path: Path | None = None) -> MetaConfig:
    return load_config(META, "smoke", path, list(overrides))


def refusal(*overrides: str, path: Path | None = None) -> str:
    """Return why a configuration is refused: one line, whatever was in it."""
    with pytest.raises(InputError) as caught:
        smoke(*overrides, path=path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("presets", [PRETRAIN, META])
def test_without_changes_it_is_the_preset(presets: dict[str, TrainConfig]) -> None:
    for name, config in presets.items():
        assert load_config(presets, name, None, []) == config


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("steps=3", {"steps": 3}),
        ("learning_rate=1e-3", {"learning_rate": 1e-3}),  # which YAML 1.1 takes for text
        ("vectorise=true", {"vectorise": True}),
        ('adapt=["stages.0.*", "*.tail.*"]', {"adapt": ("stages.0.*", "*.tail.*")}),
        ("network.channels=4", {"network": {"channels": 4}}),
        ("network={channels: 4}", {"network": {"channels": 4}}),
        ("law={noise: 0.01, jpeg: [50, 60]}", {"law": {"noise": 0.01, "jpeg": (50, 60)}}),
        ("licences.a=CC BY=4.0", {"licences": {"a": "CC BY=4.0"}}),
    ],
)
def test_one_value_changes_and_nothing_else(override: str, changed: dict[str, Any]) -> None:
    expected = META["smoke"].model_dump()
    for key, value in changed.items():
        expected[key] = expected[key] | value if isinstance(value, dict) else value
    assert smoke(override).model_dump() == expected


def test_later_wins(tmp_path: Path) -> None:
    """Preset, then file, then overrides from left to right; what is not named stays."""
    path = written(tmp_path, "batch: 3\npatch: 48\nlaw: {noise: 0.01, noise_share: 0.5}")
    config = smoke("batch=4", "law.noise=1e-3", "network.channels=4", "batch=5", path=path)
    expected: dict[str, Any] = META["smoke"].model_dump()
    expected |= {"batch": 5, "patch": 48}
    expected["law"] |= {"noise": 1e-3, "noise_share": 0.5}
    expected["network"] |= {"channels": 4}
    assert config == MetaConfig.parse(expected)


@pytest.mark.parametrize("override", ["law.scales={1: 0.5, 2: 0.5}", "law={scales: {1: 0.5, 2: 0.5}}"])
def test_scales_are_replaced_whole(tmp_path: Path, override: str) -> None:
    """They add up to something: what is left of the preset would be a share that nobody asked for."""
    assert smoke(override).law.scales == {1: 0.5, 2: 0.5}
    assert smoke(path=written(tmp_path, "law: {scales: {1: 1}}")).law.scales == {1: 1}
    assert smoke("law.scales.1=1").law.scales == {1: 1}


def test_the_short_form_of_a_loss_keeps_its_name(tmp_path: Path) -> None:
    """`loss: NAME` is short for its name alone; another of its fields does not make it another loss."""
    path = written(tmp_path, "loss: udl")
    for file, changes in ((path, ["loss.offset=0"]), (None, ["loss=udl", "loss.offset=0"])):
        config = load_config(PRETRAIN, "smoke", file, changes)
        assert (config.loss.name, config.loss.offset) == ("udl", 0)
    assert load_config(PRETRAIN, "smoke", path, ["loss.offset=0", "loss=l1"]).loss.name == "l1"


def test_families_are_replaced_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "law:\n  families:\n    disk: 0.5\n    box: 0.5\n")
    assert smoke(path=path).law.families == {"disk": 0.5, "box": 0.5}
    assert smoke("law.families={motion: 1}", path=path).law.families == {"motion": 1}
    assert smoke("law.families.motion=1", path=path).law.families == {"motion": 1}


def test_licences_are_added_to(tmp_path: Path) -> None:
    path = written(tmp_path, "licences: {a: CC0, b: CC BY 4.0}")
    assert smoke("licences.b=Unsplash", "licences.c=own", path=path).licences == {
        "a": "CC0", "b": "Unsplash", "c": "own",
    }  # fmt: skip


def test_one_change_may_allow_another() -> None:
    """Alone the first is refused, so nothing is judged before the last."""
    assert "need a patch of at least 64" in refusal("law.scales={4: 1}")
    assert smoke("law.scales={4: 1}", "patch=64").patch == 64


def test_override_leaves_the_preset_alone() -> None:
    before = META["smoke"].model_dump_json()
    smoke("law.scales={1: 1}", "law.families={box: 1}", "law.noise=0", "network.stages=3", "licences.a=b")
    assert META["smoke"].model_dump_json() == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("batch: [1", "not YAML"),
        ("batch: 2024-13-45", "not YAML"),  # looks like a date and is none: a ValueError inside the parser
        ("\tbatch: 3", "not YAML"),
        (b"\xff\xfe\xfa", "not text"),
        ("", "holds NoneType"),
        ("- batch", "holds list"),
        ("batch: 0", "batch"),
        ("btach: 3", "did you mean 'batch'"),
        ("law: {familys: {disk: 1}}", "unknown key 'law.familys'; did you mean 'law.families'?"),
        ("law: {families: {disc: 1}}", "'disk'"),
        ("1: 2", "Keys should be strings"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str | bytes, why: str) -> None:
    path = written(tmp_path, text)
    message = refusal(path=path)
    assert str(path) in message
    assert why in message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in refusal(path=tmp_path / "none.yaml")
    assert "Is a directory" in refusal(path=tmp_path)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("batch", "key=value"),
        ("batch=[", "not YAML"),
        ("=3", "key ''"),
        ("steps=0", "steps"),
        ("law.familys={disk: 1}", "did you mean 'law.families'?"),
        ("seed.x=1", "seed: Input should be a valid integer"),
        ("law=null", "law"),
    ],
)
def test_bad_override_is_named(override: str, why: str) -> None:
    message = refusal(override)
    assert override in message
    assert why in message


@pytest.mark.parametrize(("text", "override"), [("btach: 3", "seed=1"), ("seed: 1", "btach=3")])
def test_whichever_change_is_wrong_is_among_those_named(tmp_path: Path, text: str, override: str) -> None:
    path = written(tmp_path, text)
    message = refusal(override, "patch=48", path=path)
    assert message.startswith(f"{path} --set {override} --set patch=48 has an unknown key 'btach'")


def test_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(InputError, match="preset is 'big'; it must be one of flagship, paper, smoke"):
        load_config(PRETRAIN, "big", None, [])


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.yaml")), ids=lambda path: path.name)
def test_runs_are_valid(path: Path) -> None:
    """Every recipe in runs/ is a configuration of one stage, on top of a preset."""
    refusals = {}
    stages: list[dict[str, Any]] = [PRETRAIN, META]
    for stage, presets in enumerate(stages):
        for preset in presets:
            try:
                load_config(presets, preset, path, [])
            except InputError as error:
                refusals[stage, preset] = str(error)
    assert len(refusals) < len(PRETRAIN) + len(META), refusals


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the schema of every field, those of the configurations inside too."""
    whole = schema

    def walk(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        schema = schema.get("anyOf", [schema])[-1]  # a loss may be its name alone, too
        assert schema["additionalProperties"] is False
        for name, found in schema["properties"].items():
            yield prefix + name, found
            for reference in (found, *found.get("allOf", ())):
                if "$ref" in reference:
                    yield from walk(whole["$defs"][reference["$ref"].rpartition("/")[2]], f"{prefix}{name}.")

    yield from walk(schema, "")


def beyond(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield values just outside of what a field allows."""
    if "minimum" in schema:
        yield schema["minimum"] - (1 if schema["type"] == "integer" else 1e-3)
    if "maximum" in schema:
        yield schema["maximum"] + (1 if schema["type"] == "integer" else 1e-3)
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if bound in schema:
            yield schema[bound]
    if "enum" in schema or "const" in schema:
        yield "none of them"
    if "propertyNames" in schema:
        yield {"none of them": 1}
    if "minItems" in schema:
        yield [1] * (schema["minItems"] - 1)
        yield [1] * (schema["maxItems"] + 1)
    if "items" in schema:
        yield from ([value] for value in beyond(schema["items"]))


@pytest.mark.parametrize("config", [PretrainConfig, MetaConfig])
def test_the_schema_says_what_parse_does(config: type[TrainConfig]) -> None:
    """Every field and no other; defaults as they are; and what the schema forbids, parse refuses by name."""
    schema = json.loads(json_schema(config))
    found = dict(fields(schema))
    assert set(found) == set(field_paths(config))
    bounded = 0
    for path, field in found.items():
        default: Any = config().model_dump(mode="json")
        for part in path.split("."):
            default = default[part]
        if "." not in path and "$ref" not in field and "allOf" not in field:
            assert field["default"] == default, path
        for value in beyond(field):
            bounded += 1
            nested: Any = value
            for part in reversed(path.split(".")):
                nested = {part: nested}
            with pytest.raises(InputError, match=rf"^it: {re.escape(path)}[.:]"):
                config.parse(nested, "it")
    assert bounded > 25


def test_the_schema_allows_a_loss_by_its_name_alone() -> None:
    """As nearly every file of runs/ has it."""
    name, whole = json.loads(json_schema(PretrainConfig))["$defs"]["LossConfig"]["anyOf"]
    assert name["enum"] == whole["properties"]["name"]["enum"]
    assert PretrainConfig.parse({"loss": name["enum"][1]}).loss.name == name["enum"][1]


@pytest.mark.parametrize(("config", "presets"), [(PretrainConfig, PRETRAIN), (MetaConfig, META)])
def test_the_schema_allows_every_preset(config: type[TrainConfig], presets: dict[str, TrainConfig]) -> None:
    """Its bounds hold for what is in use; of enumerations, too."""
    found = dict(fields(json.loads(json_schema(config))))
    for preset in presets.values():
        for path, field in found.items():
            value: Any = preset.model_dump(mode="json")
            for part in path.split("."):
                value = value[part]
            assert value in field.get("enum", [value])
            if isinstance(value, int | float):
                assert field.get("minimum", value) <= value <= field.get("maximum", value), path
                assert not value <= field.get("exclusiveMinimum", value - 1), path
                assert not value >= field.get("exclusiveMaximum", value + 1), path
