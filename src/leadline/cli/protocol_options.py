"""Options that name an evaluation protocol."""

from dataclasses import dataclass

from leadline.evaluation import protocols
from leadline.evaluation.metrics import Averaging
from leadline.evaluation.protocols import EvalProtocol


@dataclass(frozen=True)
class ProtocolOptions:
    """Choose a protocol by name, and changes to it."""

    protocol: str = "indoor"
    """indoor, rooms, nyu_eigen, nyu_full, kitti_garg, kitti_eigen, scale_free or relative."""
    cap: float | None = None
    """Metres: farther targets do not count, and farther predictions are clipped to it."""
    min_depth: float | None = None
    """Metres: nearer targets do not count, and nearer predictions are clipped to it."""
    crop: str | None = None
    """none, nyu_eigen, nyu_older, kitti_garg or kitti_eigen."""
    alignment: str | None = None
    """none, median, scale, scale_shift, or inverse_scale_shift (all that relative depth can take)."""
    averaging: Averaging | None = None
    """The mean of each image's metric, or one metric over all pixels."""
    flip: bool = False
    """Take the mean of the predictions for the image and for its mirror image."""
    scales: tuple[float, ...] | None = None
    """Take the mean of the predictions at these factors on the size of the network's input: 0.75 1 1.25."""

    def chosen(self) -> EvalProtocol:
        """Return the protocol with its departures.

        Raises:
            BadInput: no such protocol, or a value that it cannot have.
        """
        changes = {key: value for key, value in vars(self).items() if key != "protocol"}
        return protocols.protocol(self.protocol, **changes)
