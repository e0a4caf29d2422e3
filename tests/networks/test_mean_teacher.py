from __future__ import annotations

import pytest
import torch

from spinefuse_ext.networks import MeanTeacherNet, SingleSegNet, VNet, unwrap


def _network(output: str = "student", dropout: float = 0.0) -> MeanTeacherNet:
    return MeanTeacherNet(SingleSegNet(VNet(2, 1, 3, channels=(4, 8), dropout=dropout)), output)


def _scale(network: torch.nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)


def test_training_returns_the_students_logits_and_trains_the_student_alone() -> None:
    network = _network()
    logits = network.train()(torch.rand(2, 1, 8, 8))
    assert logits.shape == (1, 2, 3, 8, 8)
    logits.sum().backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.teacher.parameters())
    assert any(parameter.grad is not None for parameter in network.student.parameters())


@pytest.mark.parametrize("output", ["student", "teacher"])
def test_evaluation_returns_probabilities_of_the_chosen_one(output: str) -> None:
    network = _network(output)
    _scale(network.teacher, 2.0)
    image = torch.rand(1, 1, 8, 8)
    network.eval()
    torch.testing.assert_close(network(image), getattr(network, output)(image))
    torch.testing.assert_close(network(image).sum(1), torch.ones(1, 8, 8))
    assert not torch.allclose(network.student(image), network.teacher(image))


def test_the_teacher_follows_by_the_given_share_and_keeps_its_own_running_statistics() -> None:
    network = _network()
    before = {name: value.clone() for name, value in network.teacher.state_dict().items()}
    _scale(network.student, 3.0)
    network.student.train()(torch.rand(4, 1, 8, 8))
    network.follow(0.75)
    student = network.student.state_dict()
    trained = dict(network.teacher.named_parameters())
    for name, value in network.teacher.state_dict().items():
        expected = 0.75 * before[name] + 0.25 * student[name] if name in trained else before[name]
        torch.testing.assert_close(value, expected)


def test_the_teacher_uses_dropout_and_gives_no_gradient() -> None:
    network = _network(dropout=0.5).eval()
    image = torch.rand(2, 1, 8, 8)
    first, second = network.teach(image), network.teach(image)
    assert first.shape == (1, 2, 3, 8, 8)
    assert not first.requires_grad
    assert not torch.equal(first, second)


def test_unknown_output_is_refused() -> None:
    with pytest.raises(ValueError, match="coach"):
        _network("coach")


def test_unwrap_finds_the_network_inside_wrappers() -> None:
    network = _network()
    assert unwrap(torch.nn.DataParallel(network)) is network
    assert unwrap(network) is network
