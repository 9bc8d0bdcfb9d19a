"""One run: its stages over one folder."""
