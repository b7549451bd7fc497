"""Teach the text encoder to read: which sex, age, hair, expression, view, light, wall and framing a
prompt names.

A denoiser of this size learns slowly from words: most of what it sees is explained by the noisy
picture itself. A text encoder that already tells "smiling" from "surprised", and ignores what no
picture shows, leaves it only the drawing to learn. It is the part that CLIP's training on captions
plays for large models.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from avatar_pipeline.bundled_model import captions
from avatar_pipeline.bundled_model.captions import Caption, Picture
from avatar_pipeline.bundled_model.hair_recolour import COLOURS
from avatar_pipeline.bundled_model.people_attributes import PERSONS, Person
from avatar_pipeline.bundled_model.text_encoder import HIDDEN

BATCH = 32
LEARNING_RATE = 1e-3
UNNAMED = ""  # the answer when a caption does not say


def answers() -> dict[str, list[str]]:
    """Return each fact that captions name, and its possible values; the first is UNNAMED."""
    people = list(PERSONS.values())
    values = {
        "framing": set(captions.LEADS),
        "sex": {person.sex for person in people},
        "age": {str(number) for number in range(len(captions.AGE_GROUPS) + 1)},
        "ethnicity": {word for person in people for word in person.ethnicities},
        "skin": {person.skin for person in people},
        "hair": {person.hair for person in people},
        "hair_colour": {person.hair_colour for person in people} | set(COLOURS),
        "feature": {word for person in people for word in person.features},
        "expression": set(captions.EXPRESSIONS),
        "view": set(captions.VIEWS),
        "light": set(captions.LIGHTS),
        "background": set(captions.BACKGROUNDS),
    }
    return {fact: [UNNAMED, *sorted(found)] for fact, found in values.items()}


def random_caption(rng: random.Random) -> Caption:
    """Return a caption of a person and a picture drawn from all attributes, whether or not a
    training picture shows them together.
    """
    people = list(PERSONS.values())

    def draw(field: str) -> object:
        return getattr(rng.choice(people), field)

    fields = ("sex", "ages", "ethnicities", "skin", "hair", "hair_colour", "features")
    person = Person(*(draw(field) for field in fields))  # type: ignore[arg-type]
    if rng.random() < 0.3:
        person = Person(**{**vars(person), "hair_colour": rng.choice(tuple(COLOURS))})
    if rng.random() < 0.4:
        start = rng.randint(18, 60)
        person = Person(**{**vars(person), "ages": (start, start + 5)})
    framing = rng.choice(("headshot", "headshot", "half_body", "full_body"))
    tables = (captions.EXPRESSIONS, captions.VIEWS, captions.LIGHTS, captions.BACKGROUNDS)
    expression, view, light, background = (rng.choice(tuple(table)) for table in tables)
    return captions.caption(person, Picture(expression, view, light, background, framing), rng)


def train_text(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, steps: int, seed: int, history: Path
) -> None:
    """Train `text_encoder` in place on random captions; writes a line of `history` (JSON lines)
    every 100 steps.
    """
    history.unlink(missing_ok=True)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    questions = answers()
    heads = nn.ModuleDict(
        {fact: nn.Linear(HIDDEN, len(values)) for fact, values in questions.items()}
    )
    parameters = [*text_encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    text_encoder.train()
    right, asked = 0.0, 0
    for step in range(steps):
        batch = [
            random_caption(rng) if rng.random() > 0.05 else Caption("", {}) for _ in range(BATCH)
        ]
        tokens = tokenizer(
            [item.text for item in batch],
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        # The U-Net pools over all tokens, paddings too: so do the questions.
        with torch.autocast("cpu", torch.bfloat16):
            pooled = text_encoder(tokens)[0].mean(dim=1)
        pooled = pooled.float()
        loss = torch.zeros(())
        for fact, values in questions.items():
            wanted = torch.tensor([values.index(item.facts.get(fact, UNNAMED)) for item in batch])
            logits = heads[fact](pooled)
            loss = loss + nn.functional.cross_entropy(logits, wanted)
            right += (logits.argmax(dim=1) == wanted).float().mean().item()
            asked += 1
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            line = {
                "step": step + 1,
                "loss": round(loss.item(), 4),
                "read_right": round(right / asked, 4),
            }
            with history.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
            right, asked = 0.0, 0
    text_encoder.eval()
