"""Names: of the model that comes with the package, and of the argument that every model takes."""

DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""
LEARNED_CAMERA = "learned"
"""The value of `camera` of networks whose depth follows the focal length to a power that they learn."""
PRUNED = "pruned"
"""The argument of `build` that holds the widths of pruned layers: `leadline.models.widths`."""
