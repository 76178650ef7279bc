"""Remembers the refusals of an upstream, and tries requests without the names that a refusal may be about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from service.model.refusal_names import FORMAT_BESIDE_TOOLS, IMAGES, OPTIONAL_FIELDS, TOP_P_BESIDE_TEMPERATURE
from service.model.refusals import Refusal

MAX_MODELS = 1000  # that one upstream remembers; clients choose the names

# Names that stay on trial beside the next name, because the other form loses nothing.
_LOSSY = frozenset({*OPTIONAL_FIELDS, TOP_P_BESIDE_TEMPERATURE, FORMAT_BESIDE_TOOLS, IMAGES})


class LearnedRefusals:
    """The names of all that one upstream has refused, by model. Bounded: the models used longest ago are forgotten."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, frozenset[str]] = OrderedDict()

    def names(self, model: str) -> frozenset[str]:
        return self._names.get(model, frozenset())

    def add(self, model: str, name: str) -> bool:
        """Returns True if the name is new."""
        before = self._names.pop(model, frozenset())
        self._names[model] = before | {name}
        while len(self._names) > MAX_MODELS:
            self._names.popitem(last=False)
        return name not in before


@dataclass(slots=True)
class RefusalTrial:
    """The refusals that one call respects: `learned` ones, and those on trial, which the upstream has just named."""

    learned: set[str]
    _now: set[str] = field(default_factory=set)
    _on_trial: tuple[str, ...] = ()
    _tried: set[str] = field(default_factory=set)
    _has_tried_all: bool = False

    @property
    def names(self) -> frozenset[str]:
        """All names to respect in the next request."""
        return frozenset(self.learned | self._now | set(self._on_trial))

    def start(self, refusal: Refusal, sent: Collection[str]) -> tuple[bool, Sequence[str]]:
        """Puts the next name of a refusal on trial. `sent` are the names that the refused request contained.

        Each name is tried by itself, then all of them together. Returns whether there is something to try, so that the
        call is worth repeating, and the names that were learned: the former ones, if the upstream complains about
        another name now.
        """
        if not refusal.names and not refusal.now:
            return False, ()
        former, confirmed = self._on_trial, list[str]()
        self._on_trial = ()
        if former and former[-1] not in refusal.names:
            confirmed = self._learn(former)
            former = ()
        now = [name for name in refusal.now if name in sent and name not in self._now]
        if now:
            self._now.update(refusal.now)
            return True, confirmed
        name = next((name for name in refusal.names if name in sent and name not in self._tried), None)
        if name is not None:
            self._tried.add(name)
            self._on_trial = (*(each for each in former if each not in _LOSSY), name)
            return True, confirmed
        tried = tuple(name for name in refusal.names if name in self._tried)
        if self._has_tried_all or len(tried) < 2:
            return False, confirmed
        self._has_tried_all = True
        self._on_trial = tried
        return True, confirmed

    def confirm(self) -> Sequence[str]:
        """Ends the trial, because the upstream has accepted a request. Returns the names that were learned."""
        names, self._on_trial = self._on_trial, ()
        return self._learn(names)

    def _learn(self, names: Sequence[str]) -> list[str]:
        self.learned.update(names)
        return list(names)
