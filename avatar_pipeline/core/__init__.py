"""What every room stands on: errors, digests, seeds, locks, the home folder, and the words for
errors of the system.
"""
