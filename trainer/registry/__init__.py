"""Artifacts under their hash, manifests beside them; written at once or not at all."""
