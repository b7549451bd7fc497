"""What belongs to HTTP itself: tokens, rates, forms, uploads, signed addresses, fetching."""
