"""The vocabulary: policy, call, run, report, errors; imports nothing else of the package."""
