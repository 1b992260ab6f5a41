"""Cross-context distillation: what a teacher says of a whole image, and of parts of it (He et al. 2025)."""

import torch

from leadline.core.errors import BadInput
from leadline.core.sample import Sample, TeacherPrediction
from leadline.data.datasets import Dataset
from leadline.data.transforms import crop, resize

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Top or bottom, left or right."""


class CornerCrops:
    """The four corners of each image of a dataset, enlarged to the image's size, each as a sample of its own.

    He et al. 2025 (Distill Any Depth, arXiv 2502.19204) take random windows. These are fixed, so that a
    teacher labels each once. Depth, intrinsics and a teacher's prediction are cropped with the image.
    """

    def __init__(self, dataset: Dataset, side: float = 0.625) -> None:
        """Cut the images of a dataset.

        Args:
            dataset: the whole images.
            side: of a window, as a fraction of the image's, above 0 and below 1; above a half windows overlap.

        Raises:
            BadInput: such a side is no part of an image.
        """
        if not 0 < side < 1:
            raise BadInput(f"A window's side is a fraction above 0 and below 1 of the image's, and not {side:g}.")
        self.dataset, self.side = dataset, side
        self.name, self.kind = f"corners of {side:g} of {dataset.name}", dataset.kind

    def __len__(self) -> int:
        return len(_CORNERS) * len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        number, corner = divmod(index, len(_CORNERS))
        sample = self.dataset[number]
        height, width = sample.size
        tall, wide = max(round(height * self.side), 1), max(round(width * self.side), 1)
        bottom, right = _CORNERS[corner]
        window = crop(sample, bottom * (height - tall), right * (width - wide), tall, wide)
        return resize(window, sample.size).replace(name=f"{sample.name} corner {corner}")


class AnchoredLabels:
    """Labels of parts of images at the level of the whole images' labels.

    A teacher that sees a part enlarged says its shape more finely, and its scale from less context: what looks larger
    is taken for nearer. Each label is multiplied by the median ratio of the whole image's label to it, over the pixels
    where the teacher is confident of both; without any, its confidence becomes 0.
    """

    def __init__(self, parts: Dataset, whole: Dataset) -> None:
        """Pair labels of the same images.

        Args:
            parts: samples with a teacher's prediction made of the part alone.
            whole: the same samples in the same order, with the prediction for the whole image, cropped.

        Raises:
            BadInput: they are not as many.
        """
        if len(parts) != len(whole):
            raise BadInput(f"{parts.name} has {len(parts)} samples, and {whole.name} {len(whole)}: they are no pairs.")
        self.parts, self.whole = parts, whole
        self.name, self.kind = f"{parts.name}, anchored to whole images", parts.kind

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Sample:
        sample, anchor = self.parts[index], self.whole[index]
        ours, theirs = sample.teacher_prediction, anchor.teacher_prediction
        if sample.name != anchor.name or ours is None or theirs is None or ours.kind is not theirs.kind:
            raise BadInput(f"Sample {index} of {self.name} is not a pair of labels of one kind of one image.")
        return sample.replace(teacher_prediction=_anchored(ours, theirs))


def _anchored(ours: TeacherPrediction, theirs: TeacherPrediction) -> TeacherPrediction:
    both = (ours.confidence > 0) & (theirs.confidence > 0) & (ours.depth > 0) & (theirs.depth > 0)
    if not both.any():
        return TeacherPrediction(ours.depth, torch.zeros_like(ours.confidence), ours.kind)
    ratio = (theirs.depth[both].log() - ours.depth[both].log()).median().exp()
    return TeacherPrediction(ours.depth * ratio, ours.confidence, ours.kind)
