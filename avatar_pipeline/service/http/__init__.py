"""What belongs to HTTP itself: limits, tokens, headers, forms, fetching."""
