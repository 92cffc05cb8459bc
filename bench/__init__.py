"""Benchmarks, each with a peer that it is measured against: ratios, since machines differ."""
