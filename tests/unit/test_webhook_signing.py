import base64

import pytest

from llm_service.gateway.alerts import signing


def test_a_delivery_is_signed_as_the_published_example_of_the_specification():
    signature = signing.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_made_is_one_and_none_is_made_twice():
    made = {signing.new_secret() for _ in range(10)}

    assert len(made) == 10
    assert all(map(signing.is_secret, made))


@pytest.mark.parametrize("size", [24, 64])
def test_secrets_of_the_specifications_lengths_are_taken(size):
    assert signing.is_secret("whsec_" + base64.b64encode(b"k" * size).decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + "k" * 40 + "!",
        "whsec_" + "ü" * 32,
    ],
)
def test_what_is_no_secret_is_refused(text):
    assert not signing.is_secret(text)
