"""One-shot search: the supernet is its networks, and the choice is better than chance."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time

import numpy as np
import pytest
import torch

from nasseg import pipeline
from nasseg.analog.noise import NoiseSource
from nasseg.cli import main
from nasseg.config import DataConfig, RunConfig, SearchConfig, TrainConfig
from nasseg.data import ClassificationData
from nasseg.errors import ConfigError, RunError
from nasseg.records.folder import Timer
from nasseg.runs import job
from nasseg.runs.stages import search as search_stage
from nasseg.search import search
from nasseg.search.darts import _shared as shared
from nasseg.search.darts import _training as training
from nasseg.search.darts import search as darts
from nasseg.search.darts._images import halved
from nasseg.search.darts._shared import disturb
from nasseg.search.darts.search import check_darts, search_darts
from nasseg.search.darts.supernet import Supernet, WeightNoise
from nasseg.search_spaces import get_space
from nasseg.studies import study as studies
from nasseg.tasks import task_for
from nasseg.training.checkpoint import load_checkpoint, save_checkpoint

SPACE = get_space("cells")
TRAIN = TrainConfig(batch_size=16, lr=5e-3)
SHORT = SearchConfig(darts_epochs=4, darts_warmup=0.25, darts_candidates=4)


def in_memory(images: np.ndarray, labels: np.ndarray, val: int) -> ClassificationData:
    n = len(labels)
    rows = {"train": np.arange(n - val), "val": np.arange(n - val, n)}
    return ClassificationData(
        source="drawn",
        in_channels=images.shape[1],
        classes=tuple(f"class {k}" for k in range(int(labels.max()) + 1)),
        multilabel=False,
        ids={side: tuple(map(str, own)) for side, own in rows.items()},
        fingerprint="drawn",
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        rows=rows,
        augment="none",
    )


def stripes(n: int = 64, val: int = 16, size: int = 16) -> ClassificationData:
    """Stripes that lie or stand: any network learns it."""
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int64) % 2
    images = rng.integers(0, 120, (n, 1, size, size)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        bright = (np.arange(size) + rng.integers(4)) % 4 < 2
        image[0] += 100 * (bright[:, None] if label else bright[None]).astype(np.uint8)
    return in_memory(images, labels, val)


def path_of(arch):
    return {h.name: h.choices.index(arch[h.name]) for h in SPACE.hyperparameters}


# --- the supernet -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_path_of_the_supernet_is_the_network_extracted_from_it(seed):
    rng = np.random.default_rng(seed)
    net = Supernet(2, 3)
    x = torch.randn(4, 2, 17, 23, generator=torch.Generator().manual_seed(seed))
    for arch in [SPACE.sample(rng) for _ in range(6)]:
        own = net.extract(SPACE, arch)
        assert own.arch == arch
        torch.testing.assert_close(net(x, path_of(arch)), own(x), rtol=1e-4, atol=1e-5)


def test_a_mixture_of_one_is_that_path_and_every_choice_gets_a_gradient():
    net = Supernet(1, 2)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    path = path_of({**SPACE.default(), "width1": 8, "width2": 8})
    weights = {
        h.name: torch.nn.functional.one_hot(torch.tensor(path[h.name]), len(h.choices))
        .float()
        .requires_grad_()
        for h in SPACE.hyperparameters
    }
    mixed = net(x, path, weights)
    torch.testing.assert_close(mixed, net(x, path), rtol=1e-4, atol=1e-5)
    mixed.square().sum().backward()
    for name, weight in weights.items():
        # "none" adds nothing: its gradient is 0, against which "add" is weighed.
        free = weight.grad[1:] if name.startswith("skip") else weight.grad
        assert (free != 0).all(), name


def test_noise_is_relative_to_the_largest_weight_in_use():
    weight = torch.zeros(64, 64)
    weight[3, 2], weight[40, 2] = 1.0, 100.0
    drawn = WeightNoise(0.1, NoiseSource(0))(weight, rows=32, columns=8) - weight
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.05)
    drawn = WeightNoise(0.1, NoiseSource(0))(weight, rows=64, columns=64) - weight
    assert float(drawn.std()) == pytest.approx(10, rel=0.05)


def test_noise_changes_the_output_and_its_seed_repeats_it():
    net = Supernet(1, 2)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    path = path_of(SPACE.default())
    plain = net(x, path)

    def noisy(seed):
        net.noise = WeightNoise(0.1, NoiseSource(seed))
        return net(x, path)

    assert not torch.allclose(noisy(0), plain)
    assert torch.equal(noisy(0), noisy(0))
    assert not torch.equal(noisy(0), noisy(1))
    own = SPACE.build(SPACE.default(), in_channels=1, out_channels=2)
    before = own.head.bias.clone()
    disturb(own, 0.1, NoiseSource(0))
    assert torch.equal(own.head.bias, before)


# --- the search ---------------------------------------------------------------------------------


def test_halves_share_no_image_and_divide_every_class():
    data = stripes()
    first, second = halved(data, 0)
    assert set(first.train_ids).isdisjoint(second.train_ids)
    assert set(first.train_ids) | set(second.train_ids) == set(data.train_ids)
    assert first.class_counts == second.class_counts == (12, 12)
    assert first.val_ids == data.val_ids
    for half in (first, second):
        ids = [data.train_ids.index(i) for i in half.train_ids]
        assert half.rows["train"].tolist() == data.rows["train"][ids].tolist()
    assert halved(data, 0)[0].train_ids == first.train_ids != halved(data, 1)[0].train_ids


def run(**changes):
    config = dataclasses.replace(SHORT, **changes.pop("search", {}))
    data = changes.pop("data", None) or stripes()
    return search_darts(SPACE, data, task_for(data), config, TRAIN, **{"seed": 0, **changes})


def test_the_result_is_an_architecture_with_its_evidence():
    seen = []
    result = run(on_epoch=seen.append)
    SPACE.validate(result.arch)
    assert seen == [0, 1, 2, 3]
    assert [entry["generation"] for entry in result.history] == seen
    assert set(result.history[0]) >= {"run", "generation", "best", "mean", "queries", "feasible"}
    assert set(result.probabilities) == set(SPACE.feature_names)
    for name, said in result.probabilities.items():
        assert len(said) == len({h.name: h for h in SPACE.hyperparameters}[name].choices)
        assert sum(said.values()) == pytest.approx(1)
    assert len(result.ranked) in (4, 5)  # what is best may be none of those scored before
    assert result.ranked[0].arch == result.arch
    expected = [entry.expected_loss for entry in result.ranked]
    assert expected == sorted(expected)


def test_equal_seeds_are_equal_searches_and_leave_the_global_random_state():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, second, other = run(), run(), run(seed=1)
    assert first == second
    assert first.probabilities != other.probabilities
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_an_interrupted_search_continues_as_if_nothing_had_happened(tmp_path, noise):
    whole = run(search={"darts_noise": noise})
    file = tmp_path / "search.ckpt"
    for epochs in (1, 3, None):
        result = run(search={"darts_noise": noise}, checkpoint=file, stop_after=epochs)
    assert result == whole
    if noise:
        assert whole.probabilities != run().probabilities


def test_a_search_too_short_to_tell_architectures_apart_says_so_once(caplog, monkeypatch, tmp_path):
    # 72 of the 144 training images are for the weights, in whole batches of 16.
    data, file = stripes(160), tmp_path / "search.ckpt"
    monkeypatch.setattr(darts, "ENOUGH_STEPS", 19)
    run(data=data, checkpoint=file, stop_after=1)
    assert caplog.messages == [
        "search.darts_epochs is 4, which makes 16 updates of the shared weights: too few to tell "
        "architectures apart; 5 would make 20"
    ]
    run(data=data, checkpoint=file)
    monkeypatch.setattr(darts, "FEW_STEPS", 16)
    run(data=data)
    assert len(caplog.messages) == 1


def test_the_history_is_scored_on_a_part_of_what_candidates_are_scored_on(monkeypatch):
    monkeypatch.setattr(shared, "RECORDED_IMAGES", 7)
    seen = []

    def score(self, nets, images):
        seen.append(sum(len(image) for image, _ in images))
        return 0.5

    monkeypatch.setattr(darts.Search, "score", score)
    run(search={"darts_epochs": 1})
    # The most probable one and three drawn; then what was found, on all that the weights saw not.
    assert seen == [7] * 4 + [16 + 24]


def test_logits_stay_as_they_are_during_the_warm_up():
    result = run(search={"darts_epochs": 4, "darts_warmup": 0.75})
    assert [entry["entropy"] == pytest.approx(1) for entry in result.history] == [True] * 3 + [
        False
    ]


class Handicapped(Supernet):
    """Whoever does not make one choice leans towards the first class, whatever the image."""

    name, index = "", 0

    def forward(self, x, path, weights=None):
        made = float(path[self.name] == self.index)
        if weights is not None:
            made = weights[self.name][self.index]
        lean = torch.tensor([6.0, 0.0])
        return super().forward(x, path, weights) + (1.0 - made) * lean


@pytest.mark.parametrize(("name", "index"), [("block1", 1), ("skip2", 0), ("width2", 0)])
def test_the_one_good_choice_is_found_be_it_a_block_or_the_narrowest_width(
    monkeypatch, name, index
):
    monkeypatch.setattr(Handicapped, "name", name)
    monkeypatch.setattr(Handicapped, "index", index)
    monkeypatch.setattr(shared, "Supernet", Handicapped)
    monkeypatch.setattr(training, "DRAWN", 1)
    config = SearchConfig(darts_epochs=8, darts_warmup=0.0, darts_alpha_lr=0.1, darts_candidates=1)
    data = stripes(144)
    train = TrainConfig(batch_size=8, lr=5e-4)
    result = search_darts(SPACE, data, task_for(data), config, train, seed=0)
    said = list(result.probabilities[name].values())
    assert said[index] > 0.6
    choices = {h.name: h.choices for h in SPACE.hyperparameters}[name]
    assert result.arch[name] == choices[index]


def test_the_effects_of_choices_decide_and_not_the_luck_of_one_architecture(monkeypatch):
    """A network's loss is that of its choices, but for one that is lucky."""
    known = {SPACE.arch_id(arch): arch for arch in SPACE.enumerate()}
    lucky = ""

    def networks(self, arch):
        return [SPACE.arch_id(arch)]

    def loss(self, name):
        arch = known[name]
        widths = (arch["width1"] + arch["width2"]) / 32 + (arch["skip1"] == "add")
        return 0.01 if name == lucky else 2.0 ** -(widths + len(arch["block1"]) / 4)

    monkeypatch.setattr(darts.Search, "networks", networks)
    monkeypatch.setattr(darts.Search, "unseen_loss", loss)
    monkeypatch.setattr(darts.Search, "score", lambda self, nets, images: 0.5)
    search = {"darts_epochs": 1, "darts_candidates": 200}
    # One of those that are scored, and by its choices the worst.
    lucky = SPACE.arch_id(run(search=search).ranked[-1].arch)
    result = run(search=search)
    assert SPACE.arch_id(min(result.ranked, key=lambda entry: entry.loss).arch) == lucky
    assert SPACE.arch_id(result.arch) != lucky
    best = {"width1": 32, "width2": 32, "skip1": "add", "block1": "c3c3c3c3"}
    assert {name: result.arch[name] for name in best} == best
    looked = {SPACE.arch_id(entry.arch) for entry in result.ranked}
    assert len(looked) == len(result.ranked) in (200, 201)
    # Proposals are the best of all, whether they were among those scored or not.
    result = run(search=search, propose=6)
    first = [entry.arch for entry in result.ranked[:6]]
    assert all(all(arch[name] == best[name] for name in best) for arch in first)
    assert len({SPACE.arch_id(arch) for arch in first}) == 6
    # Within bounds too, and where there are fewer architectures than shall be scored or proposed.
    within = darts._within_bounds(SPACE, SearchConfig(max_params=3000), 1, 2)
    search = {"darts_epochs": 1, "darts_candidates": 200, "max_params": 3000}
    result = run(search=search, propose=200)
    assert len(result.ranked) == len(within) < 200


def test_scored_are_the_most_probable_half_and_an_even_draw_of_the_others(monkeypatch):
    """Logits lean to one choice, which the drawn half must not."""
    looked = []

    def loss_of(self, arch):
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(torch.linspace(0, -9, len(logits)) * (1 + len(name)))
        looked.append(arch)
        return 1.0

    def search(candidates):
        looked.clear()
        config = {"darts_epochs": 1, "darts_candidates": candidates, "darts_warmup": 0.0}
        state = darts.Search(
            SPACE, stripes(), task_for(stripes()), dataclasses.replace(SHORT, **config), TRAIN, 0,
            torch.device("cpu"),
        )  # fmt: skip
        loss_of(state, None)
        looked.clear()
        result = state.derive(list(SPACE.enumerate()))
        return list(looked), {SPACE.arch_id(e.arch): e.probability for e in result.ranked}

    monkeypatch.setattr(darts.Search, "loss_of", loss_of)
    monkeypatch.setattr(darts.Search, "score", lambda self, nets, images: 0.5)
    scored, probability = search(300)
    assert len(scored) == 300
    likely, drawn = scored[:150], scored[150:]
    least = min(probability[SPACE.arch_id(arch)] for arch in likely)
    assert least >= max(probability[SPACE.arch_id(arch)] for arch in drawn)
    # Of the others every choice is about as frequent as every other.
    for h in SPACE.hyperparameters:
        counts = [sum(arch[h.name] == choice for arch in drawn) for choice in h.choices]
        expected = len(drawn) / len(h.choices)
        assert all(0.6 * expected < count < 1.5 * expected for count in counts), h.name
    assert len(search(1)[0]) == 1


def test_weights_are_trained_on_paths_that_are_drawn_evenly_whatever_the_logits_say(monkeypatch):
    paths = []
    forward = Supernet.forward

    class Watched(Supernet):
        def forward(self, x, path, weights=None):
            if weights is None and self.training:
                paths.append(dict(path))
            return forward(self, x, path, weights)

    class Decided(darts.Search):
        def train_epoch(self):
            with torch.no_grad():
                for logits in self.logits.values():
                    logits[1:] = -20.0
            super().train_epoch()

    monkeypatch.setattr(shared, "Supernet", Watched)
    monkeypatch.setattr(darts, "Search", Decided)
    data = stripes(160)
    config = dataclasses.replace(SHORT, darts_epochs=8, darts_candidates=1, darts_warmup=0.0)
    search_darts(
        SPACE, data, task_for(data), config, dataclasses.replace(TRAIN, batch_size=4), seed=0
    )
    assert len(paths) == 8 * 18
    for h in SPACE.hyperparameters:
        counts = np.bincount([path[h.name] for path in paths], minlength=len(h.choices))
        expected = len(paths) / len(h.choices)
        assert (counts > 0.6 * expected).all(), h.name


def test_losses_of_nothing_and_of_no_number_are_ranked_and_none_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(darts.Search, "unseen_loss", lambda self, net: 0.0)
    assert all(np.isfinite(entry.expected_loss) for entry in run().ranked)
    monkeypatch.setattr(darts.Search, "unseen_loss", lambda self, net: float("nan"))
    with pytest.raises(RunError, match=r"with the shared weights is nan; lower the learning rate"):
        run()


@pytest.mark.parametrize("exploded", [1e9, float("inf"), float("nan")])
def test_one_exploded_loss_decides_nothing(monkeypatch, exploded):
    seen = []

    def loss_of(self, arch):
        if arch["block1"] != "c3c3c3":
            return 1.0
        seen.append(arch)
        return exploded if len(seen) == 1 else 0.5

    monkeypatch.setattr(darts.Search, "loss_of", loss_of)
    result = run(search={"darts_epochs": 1, "darts_candidates": 100})
    assert len(seen) > 5
    assert result.arch["block1"] == "c3c3c3"
    assert all(np.isfinite(entry.expected_loss) for entry in result.ranked)
    json.dumps(result.to_dict(SPACE, SHORT), allow_nan=False)


def test_what_exploded_is_not_proposed_and_does_not_end_the_search(monkeypatch):
    """Half of all networks are not finite, and nobody looks at them twice."""
    networks = darts.Search.networks

    def half(self, arch):
        nets = networks(self, arch)
        if arch["skip1"] == "add":
            with torch.no_grad():
                nets[0].head.weight.fill_(float("nan"))
        return nets

    monkeypatch.setattr(darts.Search, "networks", half)
    result = run(search={"darts_candidates": 40}, propose=60)
    assert len(result.ranked) >= 60
    assert {entry.arch["skip1"] for entry in result.ranked} == {"none"}
    assert all(np.isfinite(entry.loss) for entry in result.ranked)
    json.dumps(result.to_dict(SPACE, SHORT), allow_nan=False)


def test_what_is_returned_is_within_the_bounds():
    result = run(search={"max_params": 3000, "max_macs_per_pixel": 500})
    for entry in result.ranked:
        X = SPACE.encode([entry.arch])
        assert SPACE.count_params(X, 1, 2)[0] <= 3000
        assert SPACE.count_macs_per_pixel(X, 1, 2)[0] <= 500
    with pytest.raises(ConfigError, match=r"search.max_params 10 .* least are [\d,]+"):
        run(search={"max_params": 10})


def test_other_spaces_and_objectives_are_refused():
    with pytest.raises(ConfigError, match=r"search.space is 'resnet'.*allowed: cells"):
        check_darts(get_space("resnet"), SearchConfig(strategy="darts"))
    edited = get_space("cells")
    edited.remove_hyperparameter("head")
    with pytest.raises(ConfigError, match="cells-custom"):
        check_darts(edited, SearchConfig())
    with pytest.raises(ConfigError, match=r"search.maximize is 'day1'"):
        check_darts(SPACE, SearchConfig(maximize=("day1",)))
    assert check_darts(SPACE, SearchConfig()) is SPACE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("darts_epochs", 0),
        ("darts_warmup", 1.5),
        ("darts_alpha_lr", 0.0),
        ("darts_entropy", -1.0),
        ("darts_noise", 1.0),
        ("darts_candidates", 0),
    ],
)
def test_impossible_settings_are_named(key, value):
    with pytest.raises(ConfigError, match=f"search.{key} is {value}; allowed: "):
        SearchConfig(**{key: value})


def test_a_checkpoint_of_another_search_and_a_damaged_one_are_refused(tmp_path):
    file = tmp_path / "search.ckpt"
    run(checkpoint=file, stop_after=1)
    with pytest.raises(RunError, match="another search"):
        run(checkpoint=file, seed=1)
    saved = load_checkpoint(file)
    older = {**saved, "identity": {**saved["identity"], "version": 1}}
    save_checkpoint(file, older)
    with pytest.raises(RunError, match=r"another version of nasseg \(format 1, .*delete it"):
        run(checkpoint=file)
    saved["net"].pop("hidden.bias")
    save_checkpoint(file, saved)
    with pytest.raises(RunError, match=r"hidden\.bias: missing"):
        run(checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="cannot be read"):
        run(checkpoint=file)


def test_too_few_images_and_a_loss_that_is_not_finite_are_said():
    data = stripes(9, 8)
    with pytest.raises(ConfigError, match=r"halves the training images, but there is 1"):
        run(data=data)
    images = stripes()
    broken = dataclasses.replace(task_for(images), loss=lambda: lambda x, _: x.sum() * float("nan"))
    with pytest.raises(RunError, match="loss of the weights is nan at epoch 1"):
        search_darts(SPACE, images, broken, SHORT, TRAIN, seed=0)


# --- strategies of a run ------------------------------------------------------------------------


def settings(out, **search):
    return RunConfig(
        out=str(out),
        threads=1,
        data=DataConfig(task="classification", image_size=16, channels=1),
        search=dataclasses.replace(SHORT, strategy="darts", **search),
        train=TRAIN,
    )


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(job, "load_data", lambda _: stripes())


@pytest.mark.usefixtures("drawn")
def test_a_run_searches_cells_and_writes_what_the_choice_rests_on(tmp_path):
    config = settings(tmp_path / "run")
    assert config.search.space == "cells"
    pipeline.run(config, stages=("search",), progress=False)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    SPACE.validate(best["arch"])
    assert best["space"] == "cells"
    assert best["out_channels"] == 2
    said = best["darts"]["probabilities"]
    assert list(said) == SPACE.feature_names
    assert sum(said["block1"].values()) == pytest.approx(1)
    assert best["darts"]["ranked"][0]["arch_id"] == best["arch_id"]
    assert best["budget"]["strategy"] == "darts"
    assert best["runs"]["best"] == [[best["arch_id"], best["runs"]["mean"]]]
    assert [entry["generation"] for entry in best["history"]] == [0, 1, 2, 3]
    assert not (tmp_path / "run" / "search.ckpt").exists()


@pytest.mark.usefixtures("drawn")
def test_a_run_interrupted_within_its_search_continues_to_the_same_choice(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pipeline.run(settings(whole), stages=("search",), progress=False)

    def interrupting(timer, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(Timer, "on_epoch", interrupting)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(broken), stages=("search",), progress=False)
    assert load_checkpoint(broken / "search.ckpt")["epoch"] == 2
    assert not (broken / "best.json").exists()
    pipeline.run(settings(broken), stages=("search",), progress=False)
    assert (broken / "best.json").read_bytes() == (whole / "best.json").read_bytes()


def measured(monkeypatch, out, **search):
    """A run whose supernet proposes three; the last of them measures best."""
    asked = []

    def measure(space, arch, data, task, budget):
        asked.append(space.arch_id(arch))
        return {
            "arch_id": asked[-1],
            "arch": space.to_json(arch),
            "day1": 0.5 + 0.1 * len(asked),
            "avm": 0.0,
            "std": 0.01,
            "digital": 0.9,
        }

    monkeypatch.setattr(studies, "measure", measure)
    pipeline.run(settings(out, measure=3, **search), stages=("search",), progress=False)
    return asked


@pytest.mark.usefixtures("drawn")
def test_what_the_supernet_proposes_is_measured_and_the_best_of_it_taken(tmp_path, monkeypatch):
    asked = measured(monkeypatch, tmp_path / "run")
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    ranked = [entry["arch_id"] for entry in best["darts"]["ranked"]]
    assert asked == ranked[:3]
    assert best["arch_id"] == asked[-1]
    assert best["measured"]["day1"] == pytest.approx(0.8)
    assert best["runs"]["best"] == [[asked[-1], pytest.approx(0.8)]]
    assert (best["budget"]["strategy"], best["budget"]["measure"]) == ("darts", 3)
    assert "sampler" not in best["budget"]
    assert [entry["generation"] for entry in best["history"]] == [0, 1, 2, 3]
    assert len((tmp_path / "run" / "proposed.csv").read_text().splitlines()) == 4
    # Alone, the supernet takes the first.
    pipeline.run(settings(tmp_path / "alone"), stages=("search",), progress=False)
    assert json.loads((tmp_path / "alone" / "best.json").read_text())["arch_id"] == asked[0]


def stopped(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("at", ["measured_search", "write_json"])
def test_measuring_proposals_continues_without_a_second_supernet(tmp_path, monkeypatch, at):
    """Interrupted while they are measured, or between the two files that say what they are."""
    whole = measured(monkeypatch, tmp_path / "whole")
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(search_stage, at, stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(out, measure=3), stages=("search",), progress=False)
    assert (out / "proposed.csv").exists()
    assert (out / "darts.json").exists() == (at == "measured_search")
    with monkeypatch.context() as patch:
        patch.setattr(darts.Search, "train_epoch", None)
        if at == "measured_search":
            patch.setattr(darts.Search, "derive", None)
        assert measured(monkeypatch, out) == whole
    both = [json.loads((folder / "best.json").read_text()) for folder in (tmp_path / "whole", out)]
    assert both[0]["arch_id"] == both[1]["arch_id"]
    assert both[0]["darts"] == both[1]["darts"]


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_proposals_that_cannot_be_read_are_said_with_what_to_do(tmp_path, monkeypatch, text):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(search_stage, "measured_search", stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(out, measure=3), stages=("search",), progress=False)
    (out / "darts.json").write_text(text)
    with pytest.raises(RunError, match=r"darts\.json cannot be used: .*delete it"):
        measured(monkeypatch, out)


@pytest.mark.usefixtures("drawn")
def test_a_bound_that_nothing_keeps_does_not_bind_the_folder(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"search\.max_params 1 "):
        measured(monkeypatch, out, max_params=1)
    assert len(measured(monkeypatch, out)) == 3


@pytest.mark.usefixtures("drawn")
def test_two_workers_in_one_folder_train_one_supernet_and_share_its_proposals(
    tmp_path, monkeypatch
):
    out, asked = tmp_path / "run", []
    second = []

    def and_another(self, within, propose, progress):
        # The other worker begins while this one holds the folder.
        monkeypatch.setattr(darts.Search, "derive", derive)
        second.append(threading.Thread(target=lambda: asked.extend(measured(monkeypatch, out))))
        second[0].start()
        time.sleep(0.3)
        assert not asked
        return derive(self, within, propose, progress)

    derive = darts.Search.derive
    epochs = []
    trained = darts.Search.train_epoch
    monkeypatch.setattr(
        darts.Search, "train_epoch", lambda self: (epochs.append(self.epoch), trained(self))
    )
    monkeypatch.setattr(darts.Search, "derive", and_another)
    first = measured(monkeypatch, out)
    second[0].join()
    assert epochs == [0, 1, 2, 3]
    best = json.loads((out / "best.json").read_text())
    ranked = [entry["arch_id"] for entry in best["darts"]["ranked"]]
    assert set(first) | set(asked) == set(ranked[:3])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strategy", "darts"], "search.space is 'unet'.*allowed: cells"),
        (
            [
                "--strategy",
                "darts",
                "--measure",
                "3",
                "--sampler",
                "tpe",
                "--task",
                "classification",
            ],
            "search.sampler is 'tpe'.*which proposes what is.*allowed: the default, 'surrogate'",
        ),
        (
            [
                "--strategy",
                "darts",
                "--measure",
                "3",
                "--search.stop-gain",
                "0.1",
                "--task",
                "classification",
            ],
            "search.stop_gain is 0.1.*allowed: the default, 0.0",
        ),
        (
            [
                "--strategy=darts",
                "--measure=3",
                "--task=classification",
                "--storage=sqlite:///s.db",
            ],
            "search.storage is 'sqlite:///s.db'.*allowed: the default, None",
        ),
        (["--strategy", "random", "--maximize", "day1"], r"objectives or constraints \(day1\)"),
        (["--strategy", "random", "--measure", "3"], "search.measure is 3"),
        (["--strategy", "lucky"], "strategy"),
        (
            ["--strategy", "darts", "--task", "classification", "--search.space", "resnet"],
            "search.space is 'resnet'.*allowed: cells",
        ),
    ],
)
def test_strategies_that_cannot_be_are_one_line_and_write_nothing(tmp_path, capsys, words, said):
    out = tmp_path / "run"
    assert main(["search", *words, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert not out.exists()


class Widths:
    """Scores an architecture by its channels, in AnalogNAS's protocol."""

    def __init__(self):
        self.asked = 0

    def query_pop(self, population):
        self.asked += len(population)
        day1 = [(arch["width1"] + arch["width2"]) / 100 for (arch,) in population]
        return np.array(day1), np.zeros(len(population))


def test_random_is_as_many_random_architectures_as_evolution_scores():
    config = SearchConfig(population_size=10, nb_iter=5, runs=2)
    found = {}
    for strategy in ("evolution", "random"):
        own = dataclasses.replace(config, strategy=strategy)
        found[strategy] = search(SPACE, Widths(), own, seed=1, progress=False)
        assert found[strategy].budget["strategy"] == strategy
        assert [run.history[-1].queries for run in found[strategy].runs] == [60, 60]
    assert found["random"].arch["width1"] == found["random"].arch["width2"] == 32
    assert found["random"].runs != found["evolution"].runs
    again = search(SPACE, Widths(), dataclasses.replace(config, strategy="random"), 1, False)
    assert again.to_dict() == found["random"].to_dict()
    with pytest.raises(ConfigError, match="allowed here: evolution, random"):
        search(SPACE, Widths(), dataclasses.replace(config, strategy="darts"), progress=False)
