"""The worker process: the only package that uses Faust and Kafka consumers."""
