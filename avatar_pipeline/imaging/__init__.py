"""Images: opened with limits, composed, encoded."""
