"""The commands of avatar-pipeline, a file for each kind of work; cli.py puts them together."""
