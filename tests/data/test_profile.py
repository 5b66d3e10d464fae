"""Profiles and drift."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import entropy

from rere.data.profile import Profile, drift, make_profile, stability_index
from tests.data.helpers import START, dataset_of, random_dataset

ROWS = [("u", "a", START, "train"), ("u", "b", START + 1, "train"), ("v", "a", START + 5, "train")]


def test_profile_by_hand() -> None:
    dataset = dataset_of(ROWS, {"a": "x" * 12, "b": "y" * 30, "c": ""})
    profile = make_profile(dataset)
    assert (profile.interactions, profile.users, profile.items) == (3, 2, 3)
    assert (profile.first, profile.last) == (START, START + 5)
    assert profile.item_popularity == {"a": 2, "b": 1}
    assert {k: n for k, n in profile.user_activity.items() if n} == {"from 1": 1, "from 2": 1}
    assert {k: n for k, n in profile.history_length.items() if n} == {"from 1": 1}
    assert {k: n for k, n in profile.title_length.items() if n} == {"from 0": 1, "from 10": 1, "from 30": 1}
    assert profile.means == {"user_activity": 1.5, "history_length": 1.0, "title_length": 14.0}
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    older = profile.model_dump() | {"windows": {}}
    assert Profile.model_validate(older) == profile


def test_fingerprint_follows_content() -> None:
    dataset = dataset_of(ROWS, {"a": "A", "b": "B"})
    other = dataset_of(ROWS, {"a": "A", "b": "Bee"})
    assert make_profile(dataset).fingerprint == make_profile(dataset).fingerprint != make_profile(other).fingerprint


def test_stability_index_by_hand() -> None:
    # With a half added to each bucket: p = (20, 80) / 100, q = (50, 50) / 100.
    assert stability_index(np.array([19.5, 79.5]), np.array([49.5, 49.5])) == pytest.approx(
        (0.5 - 0.2) * math.log(0.5 / 0.2) + (0.5 - 0.8) * math.log(0.5 / 0.8)
    )


def test_the_stability_index_is_scipys_relative_entropy_in_both_directions() -> None:
    old, new = np.random.default_rng(0).integers(0, 50, (2, 12))
    p, q = (counts + 0.5 for counts in (old, new))  # scipy's entropy divides by the sums
    assert stability_index(old, new) == pytest.approx(entropy(p, q) + entropy(q, p))


def test_drift_of_itself_is_nil_and_of_reversed_popularity_is_not() -> None:
    rows = [(f"u{n}", f"i{n % 10 if n % 10 < 3 else 0}", START + n, "train") for n in range(200)]
    dataset = dataset_of(rows, {f"i{n}": f"Title {n}" for n in range(3)})
    profile = make_profile(dataset)
    assert drift(profile, profile)["psi"].dropna().tolist() == [0.0] * 5
    swapped = dataset.interactions.assign(item_id=dataset.interactions["item_id"].replace({"i0": "i1", "i1": "i0"}))
    moved = drift(profile, make_profile(dataclasses.replace(dataset, interactions=swapped))).set_index("metric")["psi"]
    assert moved["item popularity (share of interactions on shared items)"] > 0.2
    assert moved["user activity (mean)"] == 0


def test_drift_without_shared_items() -> None:
    here, there = random_dataset(0), random_dataset(1)
    renamed = there.interactions.assign(item_id="x" + there.interactions["item_id"])
    moved = drift(make_profile(here), make_profile(dataclasses.replace(there, interactions=renamed)))
    assert moved.set_index("metric").loc["item popularity (share of interactions on shared items)", "current"] == 0
