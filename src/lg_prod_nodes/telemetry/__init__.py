"""What is told to the outside: metrics for Prometheus, spans and metrics for OpenTelemetry (the extra `otel`)."""
