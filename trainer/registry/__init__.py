"""The registry: artifacts named by their hash, and manifests, in a folder and in MLflow."""
