"""Tests of the configurations: what is refused and how it is named, what the presets say, round trips."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mzsr.card import Card
from mzsr.config import (
    SYNONYMS,
    Config,
    Family,
    KernelLaw,
    LossConfig,
    LossName,
    MetaConfig,
    NetworkConfig,
    PretrainConfig,
    TrainConfig,
    field_paths,
)
from mzsr.errors import InputError
from mzsr.presets import META, PRETRAIN

ROOT = Path(__file__).resolve().parent.parent
PRESETS = {f"pretrain {name}": config for name, config in PRETRAIN.items()} | {
    f"meta {name}": config for name, config in META.items()
}


def refusal(config: type[Config], values: Any) -> str:
    """Return why values are refused: one line, whatever was in them."""
    with pytest.raises(InputError) as caught:
        config.parse(values, "run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml")
    assert "\n" not in message
    return message


def nested(key: str, value: Any) -> Any:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("iteration", "iterations"),
        ("learningrate", "learning_rate"),
        ("netwrk", "network"),
        ("network.chanels", "network.channels"),
        ("channels", "network.channels"),
        ("law.bicubicshare", "law.bicubic_share"),
        ("law.familys", "law.families"),
        ("law.jpegs", "law.jpeg"),
        ("scales", "law.scales"),
        ("step", "steps"),
        ("zero_wieght", "zero_weight"),
        ("test_alpha", "test_alphas"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    assert f"unknown key '{key}'; did you mean '{nearest}'?" in refusal(MetaConfig, nested(key, 3))


@pytest.mark.parametrize(("word", "key"), SYNONYMS.items())
def test_a_word_of_others_leads_to_the_key(word: str, key: str) -> None:
    """In the stage that has the key and not the word itself: the `steps` of large-scale training are iterations."""
    stages = [c for c in (PretrainConfig, MetaConfig) if key in field_paths(c) and word not in field_paths(c)]
    assert stages
    for stage in stages:
        assert f"unknown key '{word}'; did you mean '{key}'?" in refusal(stage, {word: 3})


def test_a_word_of_others_does_not_lead_to_a_key_that_is_not_there() -> None:
    assert "known keys: " in refusal(PretrainConfig, {"inner_lr": 3})


def test_unknown_key_unlike_any_other_lists_them_all() -> None:
    """Those of its own stage, and not those of the other."""
    message = refusal(MetaConfig, {"zzz": 3})
    assert "unknown key 'zzz'" in message
    known = message.partition("known keys: ")[2].split(", ")
    assert {"iterations", "network.channels", "law.noise", "episodes"} < set(known)
    assert "compile" not in known
    assert "steps" not in refusal(PretrainConfig, {"zzz": 3})


def test_a_key_of_the_other_stage_is_unknown() -> None:
    assert "unknown key 'compile'" in refusal(MetaConfig, {"compile": True})
    assert "unknown key 'steps'" in refusal(PretrainConfig, {"steps": 5})


# Bounds and words of single fields are tried in test_settings, all of them, by what the schema says
EITHER: list[tuple[dict[str, Any], str]] = [
    ({"law": {"scales": {}}}, "scales are []; at least one from 1 to 8"),
    ({"law": {"scales": {0: 1, 2: 1}}}, "scales are [0, 2]; at least one from 1 to 8"),
    ({"law": {"scales": {9: 1}}}, "scales are [9]; at least one from 1 to 8"),
    ({"law": {"scales": {2.5: 1}}}, "law.scales.2.5"),
    ({"law": {"scales": {2: 0, 3: 0}}}, "the shares of the scales must not be negative, nor all zero"),
    ({"law": {"scales": {2: 1, 3: -0.5}}}, "the shares of the scales must not be negative"),
    ({"law": {"families": {}}}, "the shares of the families must not be negative, nor all zero"),
    ({"law": {"families": {"disk": 0.0}}}, "the shares of the families must not be negative, nor all zero"),
    ({"law": {"families": {"disk": 1, "box": -1e-3}}}, "the shares of the families must not be negative"),
    ({"law": {"families": ["disk"]}}, "law.families"),
    ({"law": {"variance": [0, 1]}}, "must be above 0"),
    ({"law": {"variance": [2, 1]}}, "not above the largest"),
    ({"law": {"variance": [1]}}, "law.variance"),
    ({"law": {"bicubic_share": 0.6, "centred_share": 0.5}}, "add up to more than 1"),
    ({"law": {"jpeg": [90, 40]}}, "jpeg is (90, 40); two qualities from 1 to 100 are required, the lower first"),
    ({"law": {"jpeg": [0, 40]}}, "two qualities from 1 to 100"),
    ({"law": {"jpeg": [40, 101]}}, "two qualities from 1 to 100"),
    ({"network": {"name": "edsr"}}, "edsr is built for one scale and scale is 0; set it to 2, 3 or 4"),
    ({"network": {"name": "edsr-s", "scale": 8}}, "edsr-s is built for one scale and scale is 8"),
    ({"network": {"name": "paper", "scale": 2}}, "paper serves every scale and scale is 2; leave it out"),
    (
        {"network": {"name": "edsr", "scale": 3}},
        "edsr is built for x3 and law.scales has [2, 3, 4]; make them the same",
    ),
    ({"law": 5}, "law"),
    ({"batch": "many"}, "received 'many'"),
    ({"schedule": "linear"}, "'cosine', 'halving' or 'constant', received 'linear'"),
]


@pytest.mark.parametrize("config", [PretrainConfig, MetaConfig])
@pytest.mark.parametrize(("values", "why"), EITHER, ids=[str(case[0]) for case in EITHER])
def test_contradiction_is_named(config: type[TrainConfig], values: dict[str, Any], why: str) -> None:
    assert why in refusal(config, values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"steps": 0}, "steps: Input should be greater than or equal to 1, received 0"),
        ({"test_alphas": [0.01]}, "test_alphas and learn_alpha contradict each other"),
        ({"patch": 62, "law": {"scales": {4: 1}}}, "patch 62 leaves a son of 3 pixels at x4"),
        ({"patch": 48}, "same-image episodes need a patch of at least 64"),
        ({"patch": 14, "law": {"scales": {2: 1}}}, "same-image episodes need a patch of at least 16"),
        ({"adapt": "head"}, "adapt"),
    ],
    ids=str,
)
def test_contradiction_of_meta_training_is_named(values: dict[str, Any], why: str) -> None:
    assert why in refusal(MetaConfig, values)


@pytest.mark.parametrize(
    "values",
    [
        {"patch": 64, "law": {"scales": {4: 1}}},  # a son of 4 pixels
        {"patch": 8, "law": {"scales": {4: 1}}, "episodes": "published"},
        {"learn_alpha": False, "test_alphas": [0.01]},
        {"steps": 20},
        {"law": {"scales": {1: 1}, "families": {"box": 1, "disk": 0}, "jpeg": [1, 100], "variance": [1, 1]}},
        {"law": {"bicubic_share": 0.5, "centred_share": 0.5}},
    ],
    ids=str,
)
def test_what_is_just_allowed(values: dict[str, Any]) -> None:
    assert MetaConfig.parse(values).model_dump(include=values.keys() - {"law"}) == {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key != "law"
    }


def test_unknown_family_is_told_the_families() -> None:
    message = refusal(MetaConfig, {"law": {"families": {"gausian": 1}}})
    assert "law.families.gausian" in message
    for family in ("gaussian", "uniform", "disk", "box", "motion", "perturbed"):
        assert f"'{family}'" in message


@pytest.mark.parametrize("key", ["learning_rate", "clip", "law.noise", "law.bicubic_share", "law.error", "alpha"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_are_finite(key: str, number: str) -> None:
    """A NaN passes many a comparison, and JSON, in which a state keeps its configuration, has no word for it."""
    assert key in refusal(MetaConfig, nested(key, float(number)))


@pytest.mark.parametrize(
    "law", [{"variance": [0.1, "inf"]}, {"scales": {2: "nan"}}, {"scales": {2: "inf"}}, {"families": {"box": "nan"}}]
)
def test_numbers_inside_lists_are_finite(law: dict[str, Any]) -> None:
    assert "finite" in refusal(PretrainConfig, {"law": law})


@pytest.mark.parametrize(
    "values",
    [
        {"batch": True}, {"seed": False}, {"learning_rate": True}, {"alpha": True}, {"network": {"channels": True}},
        {"law": {"noise": False}}, {"law": {"scales": {2: True}}}, {"law": {"variance": [0.5, True]}},
        {"learn_alpha": False, "test_alphas": [True]},
    ],
    ids=str,
)  # fmt: skip
def test_true_and_false_are_no_numbers(values: dict[str, Any]) -> None:
    assert "Input should be a number, not true or false" in refusal(MetaConfig, values)


def test_numbers_as_yaml_gives_them() -> None:
    """YAML 1.1 takes 1e-3 for text; whole numbers may be written with a point."""
    values = {"learning_rate": "1e-3", "clip": 1, "batch": 8.0, "learn_alpha": False, "network": {"log_var": True}}
    config = MetaConfig.parse(values)
    assert (config.learning_rate, config.clip, config.batch, config.learn_alpha) == (1e-3, 1.0, 8, False)
    assert config.network.log_var


def test_what_is_no_mapping() -> None:
    for values in (None, 5, "batch", ["batch"]):
        assert "should be a valid dictionary" in refusal(PretrainConfig, values)


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PRETRAIN["smoke"].batch = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_field_paths_lead_to_values() -> None:
    """Every path is a key of what a configuration writes of itself, and every key has one."""
    found = set()

    def walk(values: dict[str, Any], fields: type, prefix: str = "") -> None:
        for name, value in values.items():
            found.add(prefix + name)
            inner = fields.model_fields[name].annotation
            if inner in (NetworkConfig, KernelLaw):
                walk(value, inner, f"{prefix}{name}.")

    walk(META["paper"].model_dump(), MetaConfig)
    assert found == set(field_paths(MetaConfig))
    assert len(field_paths(MetaConfig)) == len(found)


def test_meta_paper_is_as_published() -> None:
    """MZSR, section 4.1 and its repository: task distribution, inner and outer loop, meta-test of direct x2."""
    config = META["paper"]
    assert (config.network.name, config.network.layers, config.network.channels) == ("paper", 8, 64)
    assert (config.steps, config.alpha, config.order, config.adapt) == (5, 1e-2, "second", ("*",))
    assert (config.tasks, config.batch, config.patch, config.iterations) == (5, 8, 64, 100_000)
    assert (config.learning_rate, config.schedule, config.warmup, config.loss) == (1e-4, "constant", 0, "l1")
    assert (config.weighting, config.anneal, config.zero_weight) == ("annealed", pytest.approx(10_000 / 3), 0)
    assert (config.episodes, config.learn_alpha) == ("published", False)
    assert config.test_alphas == (2e-2, 1e-2, 1e-2, 1e-2, 5e-3)
    law = config.law
    assert (law.name, law.families, law.scales, law.variance) == ("random", {"uniform": 1}, {2: 1}, (1, 2.5))
    assert law.bicubic_share == law.centred_share == law.noise_share == law.jpeg_share == law.error_share == 0


def test_pretrain_paper_is_as_published() -> None:
    config = PRETRAIN["paper"]
    assert (config.network.name, config.law.name) == ("paper", "bicubic")
    assert (config.iterations, config.tasks, config.batch, config.patch) == (800_000, 1, 32, 96)
    assert (config.learning_rate, config.schedule, config.halve_every) == (4e-4, "halving", 100_000)
    assert config.loss.name == "l1"


@pytest.mark.parametrize("name", ["edsr-s", "edsr", "dpdnn"])
def test_presets_of_udl_are_as_its_repository(name: str) -> None:
    """Patch 192, batch 64, Adam 1e-4 halved, plain bicubic pairs at x2, 100,000 iterations in step 2; no clipping."""
    config = PRETRAIN[name]
    assert (config.network.name, config.network.log_var, config.optimiser, config.loss.name) == (
        name,
        False,
        "adam",
        "l1",
    )
    assert (config.law.name, config.law.scales, config.patch, config.batch) == ("bicubic", {2: 1}, 192, 64)
    assert (config.learning_rate, config.schedule, config.iterations) == (1e-4, "halving", 100_000)
    assert config.clip >= 1e6
    assert (config.warmup, config.ema) == (200, 0.999), "which UDL has not: the one thing that differs, and it is said"


def test_a_loss_is_named_or_spelt_out() -> None:
    """`loss: l1` is what states and cards of earlier versions say."""
    short, long = (PretrainConfig.parse({"loss": value}) for value in ("udl", {"name": "udl", "offset": 1}))
    assert short == long
    assert short.loss == LossConfig(name="udl", scaling="linear", offset=1, normalise=False)
    names = ("l1", "eu", "esu", "udl", "error-map", "gradient-map")
    assert [LossConfig.parse({"name": name}).needs_step1 for name in names] == [
        False, False, False, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["eu", "esu"])
def test_a_likelihood_needs_a_head(name: str) -> None:
    why = f"loss {name} trains a log-variance; set network.log_var to true"
    assert why in refusal(PretrainConfig, {"loss": {"name": name}})
    assert PretrainConfig.parse({"loss": name, "network": {"log_var": True}}).loss.learns_log_var


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"loss": {"weight": 1}}, "unknown key 'loss.weight'"),
        ({"loss": "mse"}, "'gradient-map', received 'mse'"),
        ({"train": "variance.*"}, "train"),
    ],
    ids=str,
)
def test_contradiction_of_large_scale_training_is_named(values: dict[str, Any], why: str) -> None:
    assert why in refusal(PretrainConfig, values)


@pytest.mark.parametrize("preset", ["flagship", "paper", "smoke"])
def test_stages_of_a_preset_share_their_network(preset: str) -> None:
    """Meta-training starts from what the preset of the same name has trained."""
    assert META[preset].network == PRETRAIN[preset].network


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_round_trip(preset: str) -> None:
    """Through plain values and through JSON, whole-number keys and all."""
    config = PRESETS[preset]
    assert type(config).parse(config.model_dump()) == config
    assert type(config).parse(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert type(config).parse(json.loads(config.model_dump_json())) == config


finite = st.floats(1e-6, 1e6)
shares = st.floats(0, 0.5)
laws = st.builds(
    KernelLaw,
    name=st.sampled_from(["bicubic", "random"]),
    families=st.dictionaries(st.sampled_from(["gaussian", "disk", "motion"]), st.floats(0.01, 1), min_size=1),
    scales=st.dictionaries(st.integers(1, 8), st.floats(0.01, 1), min_size=1),
    variance=st.tuples(st.floats(1e-3, 1), st.floats(1, 10)),
    bicubic_share=shares,
    centred_share=shares,
    noise=st.floats(0, 1),
    jpeg=st.tuples(st.integers(1, 50), st.integers(50, 100)),
    error=st.floats(0, 2),
)
common = {
    "network": st.builds(
        NetworkConfig, name=st.just("paper"), channels=st.integers(1, 99), layers=st.integers(2, 20)
    ),
    "law": laws,
    "patch": st.integers(8, 256),
    "learning_rate": finite,
    "clip": finite,
    "licences": st.dictionaries(st.text(), st.text(), max_size=2),
}  # fmt: skip
sizes = st.lists(finite, min_size=1, max_size=3).map(tuple)
configs = st.one_of(
    st.builds(PretrainConfig, **common, compile=st.booleans()),
    st.builds(
        MetaConfig, **common, episodes=st.just("published"), learn_alpha=st.just(False), test_alphas=sizes,
        adapt=st.lists(st.text(), max_size=2).map(tuple), steps=st.integers(1, 20),
    ),
)  # fmt: skip


@given(
    config=configs,
    hours=finite,
    step_sizes=st.one_of(sizes, st.dictionaries(st.text(min_size=1), sizes, min_size=1, max_size=2)),
)
def test_card_round_trip(config: TrainConfig, hours: float, step_sizes: Any) -> None:
    """A card reads back as written, and so does the configuration inside it."""
    card = Card(
        name="n",
        summary="s",
        network=config.network,
        scales=tuple(config.law.scales),
        step_sizes=step_sizes,
        data=("train (CC0)",),
        recipe=config.model_dump(mode="json"),
        command="mzsr train pretrain",
        commit="0",
        iterations=1,
        hours=hours,
        machine="m",
        earlier=({"recipe": config.model_dump(mode="json"), "iterations": 3},),
        score={"mzsr Set5": "35.10"},
        sha256="0" * 64,
    )
    back = Card.parse(json.loads(card.model_dump_json()))
    assert back == card
    assert type(config).parse(back.recipe) == config
    assert type(config).parse(back.earlier[0]["recipe"]) == config


def test_imports_no_torch() -> None:
    """`mzsr --help` has to answer at once."""
    code = "import sys, mzsr.config, mzsr.settings; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_what_a_configuration_may_name_is_what_there_is() -> None:
    """A name stands here and in the table of its functions; neither may have one more."""
    from mzsr.imaging.random_kernels import RANDOM
    from mzsr.learning.losses import LIKELIHOODS, LOSSES, SCALINGS
    from mzsr.learning.networks import NETWORKS

    weighted = {"udl", "error-map", "gradient-map"}  # of L1, by what `Pretraining` weighs it with
    assert set(get_args(Family)) == set(RANDOM)
    assert set(get_args(LossName)) == {*LOSSES, *LIKELIHOODS, *weighted}
    assert set(get_args(NetworkConfig.model_fields["name"].annotation)) == {*NETWORKS, "estimator"}
    assert set(get_args(LossConfig.model_fields["scaling"].annotation)) == set(SCALINGS)
