"""The registry: a folder of artifacts, named by their hash, and of manifests."""
