"""Joined pages are attended to as transformers attends to them one by one."""

import pytest
import torch
from tiny import tiny_params, write_vlm
from torch import Tensor

from pagefinder.models import vision
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.saving import save_model
from pagefinder.sources.generated import drawing


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A random-weight embedder for each implementation, under the same seed."""
    root = tmp_path_factory.mktemp("root")
    write_vlm(root / "models/vlm")
    knobs = tiny_params()
    result = {}
    for attention in vision.NAMES:
        device_settings = choose_device(knobs.compute.model_copy(update={"attention": attention}))
        result[attention] = open_embedder(knobs.base, knobs.pixels, device_settings, root)
    return result


def pages(sizes):
    """Drawn pages, cropped to (width, height)."""
    canvas = drawing.new_canvas()
    for row in range(0, canvas.rows, 2):
        drawing.write(canvas, row, row, f"Otter {row}")
    return [canvas.image.crop((0, 0, *size)) for size in sizes]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "sizes", [[(96, 64)] * 3, [(96, 64), (64, 64), (96, 64)]], ids=["equal", "unequal"]
)
def test_joined_pages_give_the_vectors_and_gradients_of_single_ones(opened, attention, sizes):
    model = opened[attention]
    tower = model[0].model.config.vision_config
    assert tower._attn_implementation == vision.NAMES[attention]
    outcomes = []
    for implementation in (vision.NAMES[attention], attention):
        model[0].model.set_attn_implementation({"vision_config": implementation})
        model.zero_grad()
        vectors = model(model.preprocess(pages(sizes)))["sentence_embedding"]
        vectors[:, 0].sum().backward()
        weight = next(w for name, w in model.named_parameters() if "blocks.0.attn.qkv" in name)
        outcomes.append((vectors.detach(), weight.grad.clone()))
    model[0].model.set_attn_implementation({"vision_config": vision.NAMES[attention]})
    for joined, single in zip(*outcomes, strict=True):
        assert joined.abs().max() > 0
        torch.testing.assert_close(joined, single, rtol=1e-4, atol=1e-6)


def test_pages_of_one_size_are_attended_to_together_and_lengths_are_read_once(opened, monkeypatch):
    """Ten pages of three sizes: three products a layer, and the card is waited for once."""
    model = opened["sdpa"]
    features = model.preprocess(pages([(96, 64), (64, 64), (96, 64), (32, 32), (64, 64)] * 2))
    batches, read = [], []
    product, lengths = vision.scaled_dot_product_attention, Tensor.tolist

    def spied_product(query, key, value, **keywords):
        batches.append(query.shape[0])
        return product(query, key, value, **keywords)

    def spied_tolist(tensor):
        read.append(lengths(tensor))
        return read[-1]

    with monkeypatch.context() as patch:
        patch.setattr(vision, "scaled_dot_product_attention", spied_product)
        patch.setattr(Tensor, "tolist", spied_tolist)
        model(features)
    layers = model[0].model.config.vision_config.depth
    assert layers > 1
    assert batches == [4, 4, 2] * layers
    assert read.count([24, 16, 24, 4, 16] * 2) == 1


def test_a_saved_model_does_not_carry_the_name(opened, tmp_path):
    save_model(opened["eager"], tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*.json"):
        assert "flash_free" not in path.read_text()


def test_patches_are_projected_as_the_convolution_does(opened, monkeypatch):
    """With its gradients, and in the model without its convolution; other convolutions stay."""
    plain, joined = torch.nn.Conv3d(3, 5, (2, 4, 4), (2, 4, 4)), torch.nn.Conv3d(3, 5, (2, 4, 4))
    joined.load_state_dict(plain.state_dict())
    vision.join_patches(torch.nn.Sequential(joined))
    patches = torch.randn(7, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for convolution in (plain, joined):
        projected = convolution(patches)
        projected[:, 0].sum().backward()
        outcomes.append((projected.detach(), convolution.weight.grad, convolution.bias.grad))
    for product, expected in zip(*outcomes, strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-5)
    larger = torch.randn(1, 3, 2, 6, 6)
    assert joined(larger).shape == (1, 5, 1, 3, 3)

    for others in ({"padding": 1}, {"dilation": 2}, {"groups": 3, "out_channels": 6}):
        other = torch.nn.Conv3d(**{"in_channels": 3, "out_channels": 5, "kernel_size": 2} | others)
        vision.join_patches(other)
        assert "forward" not in vars(other)
    monkeypatch.setattr(torch.nn.Conv3d, "forward", None)
    model = opened["eager"]
    assert model(model.preprocess(pages([(96, 64)])))["sentence_embedding"].abs().max() > 0
