"""Names: of the model that comes with the package, of arguments beside a builder's own, and of outputs."""

DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""
LEARNED_CAMERA = "learned"
"""The value of `camera` of networks whose depth follows the focal length to a power that they learn."""
PRUNED = "pruned"
"""The argument of `build` that holds the widths of pruned layers: `leadline.models.widths`."""
SCOPE = "scope"
"""The argument of `build` that holds the channels of a scope head: `leadline.models.scope`."""
OUT_OF_SCOPE = "out_of_scope"
"""The output of exported files, and the key in what is written: how far an image is from those learnt from."""
MOST_IN_SCOPE = 0.5
"""The score above which an image is outside of what a network learnt from, and its depth is not to be trusted."""
