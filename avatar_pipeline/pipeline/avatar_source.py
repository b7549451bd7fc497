"""What an avatar is made of: a model's picture, or a photograph; and what its credentials say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from avatar_pipeline.content_credentials.xmp import Source

# validated_avatar's file that says which it is; versions from before there was a choice have none.
CHOICE = "chosen.json"
# LivePortrait's frame of the avatar with its border drawn, where a model drew it
BORDER = "border.png"
AvatarSource = Literal["lora", "photograph"]


def avatar_source(validated_avatar: Mapping[str, bytes]) -> AvatarSource:
    """What the avatar of a version of validated_avatar, file contents by name, is made of."""
    said = json.loads(validated_avatar[CHOICE])["source"] if CHOICE in validated_avatar else "lora"
    return "photograph" if said == "photograph" else "lora"


def source_type(source: AvatarSource, invented: float) -> Source:
    """The IPTC source type of a portrait: a model's picture, a photograph that was only framed, or
    one whose border was continued, too. invented: the share of it that was.
    """
    if source == "lora":
        return "trainedAlgorithmicMedia"
    return "algorithmicallyEnhanced" if invented else "digitalCapture"
