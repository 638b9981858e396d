"""From a probability to a score and a decision: the model's thresholds, then its policy rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datalab.errors import ModelRefused

_ADVICE = "correct policy in models/*.yaml and train again"
_SEVERITY = {"APROVADO": 0, "REVISAO_MANUAL": 1, "NEGADO": 2}


@dataclass(frozen=True)
class Rule:
    """Holds where the instalment (amount ÷ term) is more than `above` of the income; then at least `at_least`.

    A field that was not sent makes the rule not hold; a term or income of zero makes it hold.
    """

    name: str
    text: str
    amount: str
    term: str
    income: str
    above: float
    at_least: str

    def holds(self, request: Mapping[str, Any]) -> bool:
        """Whether this request falls under the rule."""
        amount, term, income = (request.get(name) for name in (self.amount, self.term, self.income))
        if amount is None or term is None or income is None:
            return False
        return bool(term * income == 0 or amount / term / income > self.above)


@dataclass(frozen=True)
class DecisionMaker:
    """P(default) below `approve_below` is approved, from `deny_from` on denied, between them a person looks."""

    approve_below: float
    deny_from: float
    rules: tuple[Rule, ...] = ()
    low: int = 0
    high: int = 1000

    def score(self, probability: float) -> int:
        """The probability of paying, on the model's scale: 0 to 1000."""
        return round(self.low + (self.high - self.low) * (1 - probability))

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
    scale = int(manifest["score"].get("from", 0)), int(manifest["score"].get("to", 1000))
    return DecisionMaker(float(thresholds["approve_below"]), float(thresholds["deny_from"]), rules, *scale)


def _rule(record: Mapping[str, Any], known: set[str]) -> Rule:
    try:
        amount, term, income = (str(record[key]) for key in ("amount", "term", "income"))
        text = str(record.get("text") or record["name"])
        rule = Rule(str(record["name"]), text, amount, term, income, float(record["above"]), str(record["decision"]))
        kind = record["rule"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"a policy rule of the manifest cannot be read: {error}", _ADVICE) from error
    if kind != "instalment_share" or rule.at_least not in _SEVERITY:
        raise ModelRefused(f"the policy rule '{rule.name}' is of a kind that this server does not know", _ADVICE)
    if not known.issuperset({rule.amount, rule.term, rule.income}):
        raise ModelRefused(f"the policy rule '{rule.name}' reads what is no numeric field of the request", _ADVICE)
    return rule
