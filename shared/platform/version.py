"""The version of this app, in one place."""

VERSION = "0.1.0"
