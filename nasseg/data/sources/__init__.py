"""Where images come from: one module a layout, and the registry of sources."""
