"""From a probability to a score and a decision: the model's thresholds, then its policy rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datalab.errors import ModelRefused

_SEVERITY = {"APROVADO": 0, "REVISAO_MANUAL": 1, "NEGADO": 2}


@dataclass(frozen=True)
class Rule:
    """Holds where product ÷ quotient of request fields is above a bound; then the decision is at least `at_least`.

    A field that was not sent makes the rule not hold; a divisor of zero makes it hold.
    """

    name: str
    text: str
    product: tuple[str, ...]
    quotient: tuple[str, ...]
    above: float
    at_least: str

    def holds(self, request: Mapping[str, Any]) -> bool:
        """Whether this request falls under the rule."""
        above = [request.get(name) for name in self.product]
        below = [request.get(name) for name in self.quotient]
        if None in above or None in below:
            return False
        divisor = math.prod(below)
        return divisor == 0 or math.prod(above) / divisor > self.above


@dataclass(frozen=True)
class DecisionMaker:
    """P(default) below `approve_below` is approved, from `deny_from` on denied, between them a person looks."""

    approve_below: float
    deny_from: float
    rules: tuple[Rule, ...] = ()

    def decide(self, probability: float, request: Mapping[str, Any]) -> tuple[str, list[Rule]]:
        """The decision, and the rules that made it stricter than the probability alone."""
        decision = self._by_probability(probability)
        applied = []
        for rule in self.rules:
            if _SEVERITY[rule.at_least] > _SEVERITY[decision] and rule.holds(request):
                decision = rule.at_least
                applied.append(rule)
        return decision, applied

    def _by_probability(self, probability: float) -> str:
        if probability < self.approve_below:
            return "APROVADO"
        return "NEGADO" if probability >= self.deny_from else "REVISAO_MANUAL"


def decision_maker(manifest: Mapping[str, Any]) -> DecisionMaker:
    """The thresholds and rules of a manifest; ModelRefused for a rule that cannot be read."""
    thresholds = manifest["thresholds"]
    known = {field["name"] for field in manifest["request"]["fields"] if field["type"] in ("number", "integer")}
    rules = tuple(_rule(record, known) for record in manifest.get("policy", ()))
    return DecisionMaker(float(thresholds["approve_below"]), float(thresholds["deny_from"]), rules)


def score_of(probability: float, scale: Mapping[str, Any]) -> int:
    """The probability of paying, on the manifest's scale: 0 to 1000."""
    low, high = int(scale.get("from", 0)), int(scale.get("to", 1000))
    return round(low + (high - low) * (1 - probability))


def _rule(record: Mapping[str, Any], known: set[str]) -> Rule:
    try:
        rule = Rule(
            str(record["name"]),
            str(record.get("text", record["name"])),
            tuple(record.get("product", ())),
            tuple(record.get("quotient", ())),
            float(record["above"]),
            str(record["at_least"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(
            f"a policy rule of the manifest cannot be read: {error}", "correct the model's policy"
        ) from (error)
    if not known.issuperset({*rule.product, *rule.quotient}) or rule.at_least not in _SEVERITY:
        raise ModelRefused(
            f"the policy rule '{rule.name}' names a field or decision that is not there", "correct the model's policy"
        )
    return rule
