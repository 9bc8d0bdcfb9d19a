"""Images whose pixels are learned: resized or at native scale."""
