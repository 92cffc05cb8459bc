"""The Functions host: what Azure runs around an app's worker, with the worker's own library inside it."""
