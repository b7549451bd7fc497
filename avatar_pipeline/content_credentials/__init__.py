"""Where a picture comes from: seeds, digests, manifests."""
