"""Limits at their edges: of JSON, of tokens, of buckets."""

from __future__ import annotations

import json
from hmac import compare_digest
from typing import Any

import pytest

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.errors import TooLarge
from avatar_pipeline.service.http import tokens
from avatar_pipeline.service.http.rate_limits import RateLimiter, client_of
from avatar_pipeline.service.middleware.body_limits import (
    MAX_JSON_DEPTH,
    MAX_JSON_VALUES,
    check_json,
)


def nested(depth: int, kind: type[list] | type[dict]) -> bytes:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return json.dumps(value).encode()


@pytest.mark.parametrize("kind", [list, dict])
def test_json_has_at_most_twenty_levels(kind: type[list] | type[dict]) -> None:
    assert MAX_JSON_DEPTH == 20
    check_json(nested(20, kind))
    with pytest.raises(InvalidInput, match="more than 20 levels"):
        check_json(nested(21, kind))


def test_json_has_at_most_twenty_thousand_values() -> None:
    assert MAX_JSON_VALUES == 20_000
    check_json(b"[" + b"1," * 19_998 + b"1]")
    with pytest.raises(TooLarge, match="more than 20000 values"):
        check_json(b"[" + b"1," * 20_000 + b"1]")
    # not parsed: it need not even be valid
    with pytest.raises(TooLarge, match="more than 20000 values"):
        check_json(b"[" * 20_001)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1, "a": 2}', "a field twice"),
        (b'[{"a": {"b": 1, "b": 1}}]', "a field twice"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b"[1e999]", "a number is too large"),
        (b'["\\ud800"]', "half a character"),
        (b'{"\\udfff": 1}', "half a character"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b"\xff", "not UTF-8|Expecting"),
    ],
)
def test_json_that_readers_take_in_different_ways_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_json(body)


def test_a_token_is_compared_with_every_hash_wherever_it_stands(tmp_path, monkeypatch):
    made = [tokens.new_token(tmp_path, name) for name in ("anna", "bert", "carla")]
    known = tokens.load(tmp_path)
    compared = []

    def compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return compare_digest(a, b)

    monkeypatch.setattr(tokens, "compare_digest", compare)
    for token, name in zip(
        (*made, made[0][:-1], made[0] + "x", ""),
        ("anna", "bert", "carla", None, None, None),
        strict=True,
    ):
        compared.clear()
        assert tokens.owner(known, token) == name
        assert compared == [(64, 64)] * 3


def test_a_client_is_refused_until_its_bucket_has_a_whole_request_again():
    now = [0.0]
    rates = RateLimiter(6, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(7)] == [0] * 6 + [10]
    now[0] = 9.9
    assert rates.wait("a") == 1
    now[0] = 10.0
    assert [rates.wait("a"), rates.wait("a")] == [0, 10]
    now[0] = 10_000.0
    assert [rates.wait("a") for _ in range(7)] == [0] * 6 + [10], "more is not saved up"


def test_who_has_used_up_its_requests_is_not_forgotten_before_those_who_have_not():
    now = [0.0]
    rates = RateLimiter(2, clock=lambda: now[0])
    assert [rates.wait("greedy") for _ in range(3)] == [0, 0, 30]
    now[0] = 25.0
    for number in range(9_999):
        rates.wait(f"later {number}")
    now[0] = 56.0  # theirs are full again, and the first one's is not
    for number in range(10):
        rates.wait(f"latest {number}")
    assert [rates.wait("greedy"), rates.wait("greedy")] == [0, 4]


def test_an_ipv6_host_is_one_client_whatever_address_it_takes():
    assert client_of("2001:db8:1:2::1") == client_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert client_of("2001:db8:1:3::1") != client_of("2001:db8:1:2::1")
    assert client_of("fe80::1%eth0") == "fe80::/64"
    assert client_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert client_of("unix") == "unix"
