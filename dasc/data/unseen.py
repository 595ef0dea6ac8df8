"""Which of the images to be scored were training images of a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from dasc.data.sets import AnySet, FileSet
from dasc.data.splits import SplitRule, digest, hash_of, names_of, places_of, rule_of
from dasc.errors import UserError


def trained_names(
    record: Mapping[str, Any], train: AnySet | None, scored: AnySet, places: torch.Tensor | None
) -> list[str]:
    """Return the names of the images of a part that a run was, or may have been, trained on.

    A checkpoint records no names. Its rule is applied to the images of today. If the digest of the training images is
    then the recorded one, the answer is exact. Otherwise files were added or removed, and the answer includes the
    images that the hash alone does not put into a part (see `hash_split`).

    Args:
        record: The record of the run's split, made by `Split.record`.
        train: The training images of today before the split, or None.
        scored: The images of the part.
        places: Their indices (int64) in `train` if the part was split from it; None if it has its own folder or file.
    """
    if places is None:
        return _moved(record, train, scored)
    assert train is not None
    trained, exact = _trained(record, train)
    names, found = names_of(train), set(trained)
    rule = rule_of(record)
    return [names[i] for i in places.tolist() if i in found or (not exact and not _by_hash(rule, names[i]))]


def _trained(record: Mapping[str, Any], train: AnySet) -> tuple[list[int], bool]:
    """Return the indices that the rule of a run gives to training, and whether they are those of the run."""
    names, rule = names_of(train), rule_of(record)
    for each in (rule, replace(rule, train_size=None)):
        try:
            places = places_of(train, each)["train"]
        except UserError:  # such as a train_size above the number of images of today
            continue
        exact = digest(names, places) == record["digest"]
        if exact or each.train_size is None:
            return places.tolist(), exact
    return list(range(len(names))), False


def _by_hash(rule: SplitRule, name: str) -> bool:
    """Return whether the hash of a file puts it into a part that the rule splits off, whichever other files exist."""
    return rule.rule == "hash" and any(hash_of(name, rule.seed_of(part), part) < rule.share for part in rule.parts)


def _moved(record: Mapping[str, Any], train: AnySet | None, scored: AnySet) -> list[str]:
    """Return the files that were training images and were moved out of the training folder, if nothing else changed."""
    if not isinstance(scored, FileSet):
        return []
    before = train if isinstance(train, FileSet) else FileSet([], torch.zeros(0, dtype=torch.int64), "")
    names, existing = scored.names(), set(before.names())
    if _trained(record, before)[1] or not existing.isdisjoint(names):
        return []
    together = FileSet([*before.names(), *names], torch.cat([before.targets, scored.targets]), "")
    trained, exact = _trained(record, together)
    return [names[place - len(existing)] for place in trained if exact and place >= len(existing)]
