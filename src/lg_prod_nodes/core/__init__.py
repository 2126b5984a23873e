"""The vocabulary: policy, call, run, report, errors. Imports nothing else from the package."""
