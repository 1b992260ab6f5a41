"""Loading: what a step sees depends on the seed and the step only."""

import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import Sample, TeacherPrediction, collate
from leadline.data.loader import Subset, batches, drop_unreadable


class Numbered:
    """Seven tiny samples, each filled with its index; `damaged` ones cannot be read."""

    name, kind = "numbered", DepthKind.METRIC

    def __init__(self, damaged: tuple[int, ...] = ()) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Sample:
        if index in self.damaged:
            raise UnreadableFile(f"{index}.jpg is cut short.")
        depth = torch.full((1, 2, 2), float(index))
        return Sample(image=torch.zeros(3, 2, 2), depth=depth, valid=depth >= 0, name=str(index))


def noisy(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample.replace(image=torch.from_numpy(rng.random((3, 2, 2))).float())


def steps(**settings) -> list[Sample]:
    return list(batches(Numbered(), noisy, seed=3, batch_size=4, **settings))


def same(one: Sample, other: Sample) -> bool:
    return one.name == other.name and torch.equal(one.image, other.image)


def test_a_run_that_starts_in_the_middle_sees_what_the_whole_run_saw():
    whole = steps(first_step=0, last_step=9)
    late = steps(first_step=5, last_step=9)
    assert len(whole) == 9
    assert all(same(one, other) for one, other in zip(whole[5:], late, strict=True))


def test_workers_change_nothing():
    alone = steps(first_step=2, last_step=6)
    helped = steps(first_step=2, last_step=6, workers=1)
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))


def test_every_visit_sees_every_sample_once_in_its_own_order():
    names = [name for step in steps(first_step=0, last_step=7) for name in step.name]
    visits = [names[start : start + 7] for start in range(0, 28, 7)]
    assert all(sorted(visit) == [str(index) for index in range(7)] for visit in visits)
    assert len({tuple(visit) for visit in visits}) > 1


def test_ranks_share_a_batch_without_overlap():
    whole = steps(first_step=0, last_step=4)
    parts = [steps(first_step=0, last_step=4, rank=rank, ranks=2) for rank in range(2)]
    for step, one, other in zip(whole, *parts, strict=True):
        assert sorted(step.name) == sorted((*one.name, *other.name))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_stops_the_loading_with_its_name_and_no_workers_traceback(workers):
    with pytest.raises(UnreadableFile, match=r"^2\.jpg is cut short\.$"):
        list(batches(Numbered((2,)), noisy, seed=0, batch_size=7, first_step=0, last_step=1, workers=workers))


def test_the_readable_part_leaves_damaged_samples_out_and_names_them():
    good, faults = drop_unreadable(Numbered(damaged=(2, 5)))
    assert [good[index].name for index in range(len(good))] == ["0", "1", "3", "4", "6"]
    assert faults == ("2.jpg is cut short.", "5.jpg is cut short.")


def test_a_dataset_without_damage_is_left_as_it_is():
    whole = Numbered()
    assert drop_unreadable(whole) == (whole, ())


def test_an_empty_dataset_is_refused_by_name():
    with pytest.raises(BadInput, match="numbered has no samples"):
        list(batches(Subset(Numbered(), ()), noisy, seed=0, batch_size=1, first_step=0, last_step=1))


def taught(index: int, kind: DepthKind = DepthKind.METRIC) -> Sample:
    sample = Numbered()[index]
    return sample.replace(teacher_prediction=TeacherPrediction(sample.depth + 1, torch.ones(1, 2, 2), kind))


def test_in_a_batch_a_teacher_is_not_believed_where_it_was_not_asked():
    mixed = collate([taught(1), Numbered()[2], taught(3)]).teacher_prediction
    assert mixed
    assert mixed.depth[:, 0, 0, 0].tolist() == [2, 0, 4]
    assert mixed.confidence[:, 0, 0, 0].tolist() == [1, 0, 1]
    assert collate([Numbered()[1], Numbered()[2]]).teacher_prediction is None


def test_two_kinds_of_teacher_share_no_batch():
    with pytest.raises(ValueError, match=r"one kind of teacher, and this one has .*metric.*relative"):
        collate([taught(1), taught(2, DepthKind.RELATIVE)])
