import base64

import pytest
from meterpipe.core.notify.signing import SecretError, headers, secrets_of, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IDENTITY, SECONDS, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example_of_the_standard_has_its_published_signature():
    assert signature(secrets_of(SECRET), IDENTITY, SECONDS, BODY) == SIGNATURE


def test_with_two_secrets_each_signs_so_that_one_can_follow_the_other():
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    both = signature(secrets_of(f"{SECRET}\n{other}\n"), IDENTITY, SECONDS, BODY).split(" ")
    assert both[0] == SIGNATURE
    assert both[1] == signature(secrets_of(other), IDENTITY, SECONDS, BODY)


def test_a_secret_may_be_any_text_that_is_long_enough():
    assert secrets_of("  correct horse battery staple\n\n") == (b"correct horse battery staple",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no secret"),
        ("\n \n", "no secret"),
        ("short", "line 1 is a secret of 5 bytes"),
        (f"{SECRET}\nwhsec_no*base64", "line 2 has no base64"),
        ("whsec_c2hvcnQ=", "line 1 is a secret of 5 bytes"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(text, why):
    with pytest.raises(SecretError, match=why) as caught:
        secrets_of(text)
    assert "c2hvcnQ" not in str(caught.value)


def test_headers_carry_what_a_receiver_needs_to_verify_and_to_know_repeats():
    assert headers(secrets_of(SECRET), IDENTITY, SECONDS, BODY) == {
        "webhook-id": IDENTITY,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
        "Idempotency-Key": IDENTITY,
    }
