"""The embedded stack: Azure on one machine, for development, the demo and the tests. Never deployed."""
