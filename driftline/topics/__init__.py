"""Read and write driftline's topics."""
