"""Images that have a class each."""
