"""Initial values are spared on the meta device, and nowhere else."""

import pytest
import torch
from torch import nn

from workers.child.no_values import without_initial_values


def on_meta(*shape):
    return torch.empty(shape, device="meta")


def test_a_tensor_with_data_is_initialised_as_ever():
    tensor = torch.zeros(2, 3)
    with without_initial_values():
        assert nn.init.ones_(tensor) is tensor
    assert tensor.sum() == 6


def test_a_matrix_without_data_comes_back_as_it_is():
    matrix = on_meta(2, 3)
    # The generator is drawn from by nobody.
    before = torch.get_rng_state()
    with without_initial_values():
        assert nn.init.kaiming_uniform_(matrix, a=5**0.5) is matrix
        assert nn.init.normal_(tensor=matrix, std=0.02) is matrix
    assert torch.equal(torch.get_rng_state(), before)


def test_what_an_initialiser_refuses_is_still_refused():
    with without_initial_values(), pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(on_meta(3))


def test_the_functions_are_torchs_own_again_afterwards():
    before = dict(vars(nn.init))
    with pytest.raises(ZeroDivisionError), without_initial_values():
        1 / (vars(nn.init) == before)
    assert vars(nn.init) == before
