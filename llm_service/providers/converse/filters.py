"""What a guardrail struck, as its trace tells."""

from collections.abc import Iterator
from typing import Any

from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers.lenient import items, mapping, text

_ACTED = frozenset({"BLOCKED", "ANONYMIZED"})


def struck(trace: dict[str, Any]) -> ContentFilter:
    """The filter; without a trace nobody knows where it struck, or why."""
    asked = list(_categories(mapping(trace.get("inputAssessment")).values()))
    lists = mapping(trace.get("outputAssessments")).values()
    answered = list(_categories(one for several in lists for one in items(several)))
    if answered:
        return ContentFilter(FilterStage.OUTPUT, tuple(dict.fromkeys(answered)))
    if asked:
        return ContentFilter(FilterStage.INPUT, tuple(dict.fromkeys(asked)))
    return ContentFilter()


def _categories(assessments: Any) -> Iterator[str]:  # noqa: ANN401 - as it lies on the wire
    """The policies that acted, by the most telling name that is not the user's own text."""
    for assessment in assessments:
        for policy, said in mapping(assessment).items():
            for findings in mapping(said).values():
                for finding in map(mapping, items(findings)):
                    if finding.get("action") in _ACTED:
                        named = text(finding.get("name")) or text(finding.get("type"))
                        yield named or policy
