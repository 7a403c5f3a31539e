"""The only rooms that know Faust and Kafka."""
