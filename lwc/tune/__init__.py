"""Measuring other choices of a kernel than the default one, and keeping what came out."""
