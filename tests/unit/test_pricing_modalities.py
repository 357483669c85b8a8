"""Sound, pictures and film are charged once, by their own meters where these have a price."""

from llm_service.domain.completion import ModalityTokens, TokenUsage
from llm_service.domain.content import Modality
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway import pricing


def test_sound_is_charged_by_its_own_meter():
    price = Price(
        "v",
        (
            PriceItem("input-tokens", 1_000_000),
            PriceItem("input-audio-tokens", 9_000_000),
            PriceItem("output-tokens", 0),
        ),
    )
    usage = TokenUsage(10, 0, modality_tokens=(ModalityTokens(Modality.AUDIO, input_tokens=3),))

    cost = pricing.cost_of(usage, price)

    assert cost.total_nano_usd == 7 * 1 + 3 * 9


def test_pictures_and_film_are_charged_by_their_own_meters():
    price = Price(
        "v",
        (
            PriceItem("input-tokens", 1_000_000),
            PriceItem("input-video-tokens", 3_000_000),
            PriceItem("output-tokens", 2_000_000),
            PriceItem("output-image-tokens", 120_000_000),
        ),
    )
    usage = TokenUsage(
        100,
        50,
        cache_read_input_tokens=10,
        modality_tokens=(
            ModalityTokens(Modality.TEXT, 30, 10),
            ModalityTokens(Modality.IMAGE, 20, 40),
            ModalityTokens(Modality.VIDEO, 50),
        ),
    )

    cost = pricing.cost_of(usage, price)

    assert {item.meter: item.quantity for item in cost.items} == {
        "input-tokens": 50,
        "input-video-tokens": 50,
        "output-tokens": 10,
        "output-image-tokens": 40,
    }
    assert cost.total_nano_usd == 50 * 1 + 50 * 3 + 10 * 2 + 40 * 120
    assert not cost.incomplete


def test_a_modality_that_is_told_of_twice_is_charged_for_both():
    seen = (ModalityTokens(Modality.IMAGE, 10, 1), ModalityTokens(Modality.IMAGE, 20, 2))
    usage = TokenUsage(40, 4, modality_tokens=seen)
    rates = ("input-tokens", "input-image-tokens", "output-tokens", "output-image-tokens")
    price = Price("v", tuple(PriceItem(meter, 1_000_000) for meter in rates))

    cost = pricing.cost_of(usage, price)

    assert cost.total_nano_usd == 44
    assert {item.meter: item.quantity for item in cost.items} == {
        "input-tokens": 10,
        "input-image-tokens": 30,
        "output-tokens": 1,
        "output-image-tokens": 3,
    }


def test_subsets_beyond_the_whole_are_charged_no_more_than_the_whole():
    price = Price("v", (PriceItem("input-tokens", 1_000_000), PriceItem("output-tokens", 0)))
    usage = TokenUsage(
        10,
        0,
        modality_tokens=(
            ModalityTokens(Modality.AUDIO, 8),
            ModalityTokens(Modality.IMAGE, 9),
            ModalityTokens(Modality.VIDEO, 7, 5),
        ),
    )

    cost = pricing.cost_of(usage, price)

    assert cost.total_nano_usd == 10
