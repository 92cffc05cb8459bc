"""The steps of a run: where the PostgreSQL side, the Fabric side and the records come together.

Each step looks first and does only what is missing, so it may run twice, be cut off, or find things changed by hand.
"""
