"""Compression: trained networks with fewer channels."""
