"""Long prompts in windows."""

import pytest

from avatar_pipeline.diffusion.prompt_chunks import count_tokens, split_prompt
from tests.support.tiny_models import _tokenizer

TOKENIZERS = [_tokenizer()]  # one token a letter, 75 to a window


def test_a_prompt_that_fits_stays_as_it_is() -> None:
    prompt = "a  man,\nwith hair"
    assert split_prompt(prompt, TOKENIZERS) == [prompt]
    assert split_prompt("", TOKENIZERS) == [""]


def test_parts_end_at_a_comma_that_is_near_and_else_between_words() -> None:
    near = "a" * 40 + " " + "b" * 20 + ", " + "c" * 30
    assert split_prompt(near, TOKENIZERS) == ["a" * 40 + " " + "b" * 20 + ",", "c" * 30]
    far = "aaaa, " + "b" * 60 + " " + "c" * 8 + " " + "d" * 30
    assert split_prompt(far, TOKENIZERS) == ["aaaa, " + "b" * 60 + " " + "c" * 8, "d" * 30]


@pytest.mark.parametrize(
    "prompt", ["x" * 400, "one, two. " * 60, "word " * 99, ", ".join("y" * n for n in range(1, 90))]
)
def test_every_letter_is_in_one_part_and_every_part_fits(prompt: str) -> None:
    parts = split_prompt(prompt, TOKENIZERS)
    assert "".join(parts).replace(" ", "") == prompt.replace(" ", "")
    assert all(0 < count_tokens(TOKENIZERS, part) <= 75 for part in parts)


def test_a_window_ends_at_a_comma_for_at_most_twenty_tokens() -> None:
    begin, end = "a" * 40 + ",", "c" * 30
    assert split_prompt(f"{begin} {'b' * 20} {end}", TOKENIZERS) == [begin, f"{'b' * 20} {end}"]
    assert split_prompt(f"{begin} {'b' * 21} {end}", TOKENIZERS) == [f"{begin} {'b' * 21}", end]
    for stop in ".;:":
        assert split_prompt(f"{'a' * 40}{stop} {'b' * 20} {end}", TOKENIZERS)[0] == "a" * 40 + stop
