"""Search by measuring: an Optuna study of trained and aged architectures."""
