"""Names: of the model that comes with the package, and of the argument that every model takes."""

DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""
PRUNED = "pruned"
"""The argument of `build` that holds the widths of pruned layers: `leadline.models.widths`."""
