"""One-shot search: the choice is better than chance, and an interruption changes nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.stripes import SHORT, SPACE, TRAIN, stripes

from nasseg.config import SearchConfig, TrainConfig
from nasseg.errors import ConfigError, RunError
from nasseg.search.darts import _shared as shared
from nasseg.search.darts import _training as training
from nasseg.search.darts import search as darts
from nasseg.search.darts._images import halved
from nasseg.search.darts.search import check_darts, search_darts
from nasseg.search.darts.supernet import Supernet
from nasseg.search_spaces import get_space
from nasseg.tasks import task_for
from nasseg.training.checkpoint import load_checkpoint, save_checkpoint


def run(**changes):
    config = dataclasses.replace(SHORT, **changes.pop("search", {}))
    data = changes.pop("data", None) or stripes()
    return search_darts(SPACE, data, task_for(data), config, TRAIN, **{"seed": 0, **changes})


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
