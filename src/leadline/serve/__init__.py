"""A page and an HTTP interface to try depth with, on this machine alone."""
