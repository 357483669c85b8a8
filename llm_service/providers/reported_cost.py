"""What a vendor says a call costs, as it says it: read as decimals, never as floats."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import msgspec

from llm_service.providers.lenient import mapping

_MOST_USD = 1_000_000  # a call that costs more is a mistake of somebody's
_MOST_TICKS = _MOST_USD * 10**10  # xAI's tick is 1e-10 USD (docs.x.ai, "Cost tracking")
_NANO = Decimal("1e-9")
_EXACT = Context(prec=40)
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def nano_usd(said: dict[str, Any], data: bytes) -> int | None:
    """The price in an object of counts, rounded half-even once; None: there is none to believe.

    xAI tells ticks in `cost_in_usd_ticks`; OpenRouter dollars in `cost`, which leave out what the
    caller's own key pays for (`is_byok`); Perplexity an object of dollars there.

    Args:
        said: the object, as far as it has been read.
        data: an answer or event with that object as its `usage`, of which fractions are read again.
    """
    ticks = said.get("cost_in_usd_ticks")
    if type(ticks) is int:
        believable = 0 <= ticks <= _MOST_TICKS
        return _rounded(Decimal(ticks).scaleb(-10, _EXACT)) if believable else None
    if said.get("cost") is None:
        return None
    try:
        exact = mapping(_decode(data).get("usage"))
    except (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError):
        return None
    cost = exact.get("cost")
    if type(cost) is dict:
        return _dollars(cost.get("total_cost"))
    charged = _dollars(cost)
    if charged is None or exact.get("is_byok") is not True:
        return charged
    beside = _dollars(mapping(exact.get("cost_details")).get("upstream_inference_cost"))
    return None if beside is None else charged + beside


def of_generation(data: bytes) -> int | None:
    """The price in OpenRouter's record of a generation, as `nano_usd` has that of an answer."""
    try:
        said = mapping(_decode(data).get("data"))
    except (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError):
        return None
    charged = _dollars(said.get("total_cost"))
    if charged is None or said.get("is_byok") is not True:
        return charged
    beside = _dollars(said.get("upstream_inference_cost"))
    return None if beside is None else charged + beside


def _dollars(said: Any) -> int | None:  # noqa: ANN401 - as it lies on the wire
    if type(said) is int:
        said = Decimal(said) if 0 <= said <= _MOST_USD else None
    if type(said) is not Decimal or not 0 <= said <= _MOST_USD:
        return None
    return _rounded(said)


def _rounded(dollars: Decimal) -> int:
    return int(dollars.quantize(_NANO, ROUND_HALF_EVEN, _EXACT).scaleb(9, _EXACT))
