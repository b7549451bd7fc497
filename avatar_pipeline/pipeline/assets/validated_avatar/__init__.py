"""The asset validated_avatar."""
