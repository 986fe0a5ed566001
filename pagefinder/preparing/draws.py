"""Draw units for dev and eval by a hash of seed and name, so that a change moves few others."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pagefinder.preparing.units import Member, Node

# Dev chooses between models. With fewer questions chance does: where documents are drawn, dev gets
# as many, or this share of what eval leaves if that is less.
DEV_QUERIES, DEV_SHARE = 50, 0.2


@dataclass(frozen=True)
class Shares:
    """Which shares are drawn.

    Attributes:
        eval: Share of the questions without a split of the source that go to eval.
        dev: Share of the train questions that go to dev, unless the source has a dev split.
        seed: Changes which units are drawn.
        fill_dev: Dev gets DEV_QUERIES or DEV_SHARE where `dev` is less.
    """

    eval: float
    dev: float
    seed: int
    fill_dev: bool = False

    def of_dev(self, train: float) -> tuple[float, float]:
        """The share of `train` questions that go to dev, and their least number."""
        if not self.fill_dev or self.dev <= 0:
            return self.dev, 0.0
        if DEV_SHARE * train < DEV_QUERIES:
            return max(self.dev, DEV_SHARE), 0.0
        return self.dev, float(DEV_QUERIES)


def draw(
    names: Iterable[Member],
    share: float,
    salt: str,
    weights: Mapping[Member, float] | None = None,
    least: float = 0.0,
) -> set[Member]:
    """Draw names that together have a share of the weight of all.

    In the order of the hashes of `salt` and name, those are drawn that the share has room for, then
    the one that brings it nearest. At least one name is drawn and at least one stays for the other
    split. None is drawn where there is only one, or `share` is 0.

    Args:
        names: To draw from.
        share: Of the weight of all names.
        salt: Changes which names are drawn.
        weights: Weight of each name; None: each counts 1.
        least: Weight to draw at least, also where `share` is less.
    """
    ordered = sorted(
        set(names), key=lambda name: hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest()
    )
    if share <= 0 or len(ordered) < 2:
        return set()
    weight = {name: 1.0 if weights is None else float(weights[name]) for name in ordered}
    target = max(share * sum(weight.values()), least)
    drawn, total = list[Member](), 0.0
    for name in ordered:
        if total + weight[name] <= target:
            drawn.append(name)
            total += weight[name]
    rest = [name for name in ordered if name not in set(drawn)]
    if len(rest) == 0:
        return set(ordered[:-1])
    nearest = min(rest, key=lambda name: weight[name])
    short = target - total
    if not drawn or total < least or weight[nearest] - short <= short:
        drawn.append(nearest)
    return set(drawn if len(drawn) < len(ordered) else ordered[:-1])


def assign(
    units: set[Node], answering: Mapping[Node, float], shares: Shares, spare: float = 0.0
) -> dict[Node, str]:
    """The split of each unit: the one that the source gives, else a drawn one.

    Args:
        units: Each is named by its smallest node.
        answering: Unit with a page that answers a query -> number of its queries. They are drawn
            apart from the rest, so that each split gets its share of both.
        shares: Of eval and dev.
        spare: See `Cuts`.
    """
    result = {unit: unit.source_split or "train" for unit in units}
    has_dev = "dev" in result.values()
    for weights in (answering, dict.fromkeys(units - set(answering), 1.0)):
        free = {unit for unit in weights if not unit.source_split}
        result |= dict.fromkeys(draw(free, shares.eval, f"{shares.seed} eval", weights), "eval")
        if not has_dev:
            train = {unit for unit in weights if result[unit] == "train"}
            share, least = shares.dev, 0.0
            if weights is answering:
                share, least = shares.of_dev(sum(weights[unit] for unit in train))
            more, salt = 1 + spare, f"{shares.seed} dev"
            drawn = draw(train, share * more, salt, weights, least * more)
            result |= dict.fromkeys(drawn, "dev")
    return result
