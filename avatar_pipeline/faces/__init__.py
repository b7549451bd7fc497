"""Looking: face analyzers, measures, readiness checks, identity, LivePortrait's crop."""
