"""Small networks of KerasHub with random weights, saved as presets with their image converters."""

import numpy as np

SIZE = 56

MODELS = {
    "ViT": lambda m: m.ViTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=14, num_layers=2, num_heads=2, hidden_dim=24,
        mlp_dim=48,
    ),
    "DINOV2": lambda m: m.DINOV2Backbone(
        patch_size=14, num_layers=4, hidden_dim=24, num_heads=2, intermediate_dim=48,
        num_register_tokens=3, image_shape=(SIZE, SIZE, 3), position_embedding_shape=(SIZE, SIZE),
    ),
    "DeiT": lambda m: m.DeiTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=14, num_layers=2, num_heads=2, hidden_dim=24,
        intermediate_dim=48,
    ),
    "ResNet": lambda m: m.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1], stackwise_num_strides=[1, 2], block_type="basic_block",
        use_pre_activation=True, image_shape=(None, None, 3),
    ),
    "DenseNet": lambda m: m.DenseNetBackbone(
        stackwise_num_repeats=[2, 2], compression_ratio=0.5, growth_rate=8,
        image_shape=(SIZE, SIZE, 3),
    ),
    "SwinTransformer": lambda m: m.SwinTransformerBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=4, embed_dim=12, depths=(1, 1), num_heads=(2, 4),
        window_size=7,
    ),
    "CLIP": lambda m: m.CLIPBackbone(
        vision_encoder=m.CLIPVisionEncoder(
            patch_size=14, hidden_dim=24, num_layers=2, num_heads=2, intermediate_dim=48,
            image_shape=(SIZE, SIZE, 3),
        ),
        text_encoder=m.CLIPTextEncoder(
            vocabulary_size=20, embedding_dim=16, hidden_dim=16, num_layers=1, num_heads=2,
            intermediate_dim=16, max_sequence_length=8,
        ),
        projection_dim=10,
    ),
    "SigLIP": lambda m: m.SigLIPBackbone(
        vision_encoder=m.SigLIPVisionEncoder(
            patch_size=14, hidden_dim=24, num_layers=2, num_heads=2, intermediate_dim=48,
            image_shape=(SIZE, SIZE, 3),
        ),
        text_encoder=m.SigLIPTextEncoder(
            vocabulary_size=20, embedding_dim=24, hidden_dim=24, num_layers=1, num_heads=2,
            intermediate_dim=16, max_sequence_length=8,
        ),
    ),
}  # fmt: skip


def save(keras_hub, name, folder, **converter):
    """Write a preset; return the network and the converter that it was written from."""
    import keras

    keras.utils.set_random_seed(5)
    backbone = MODELS[name](keras_hub.models)
    # As in trained ones, no norm is without effect and no token at zero.
    rng = np.random.default_rng(5)
    for weight in backbone.weights:
        values = weight.numpy()
        if values.dtype.kind == "f" and "moving_variance" not in weight.path:
            weight.assign(values + rng.normal(0, 0.05, values.shape).astype(np.float32))
    kind = getattr(keras_hub.layers, f"{name}ImageConverter")
    made = kind(
        image_size=(SIZE, SIZE),
        scale=[1 / 58.4, 1 / 57.1, 1 / 57.4],
        offset=[-2.118, -2.036, -1.804],
        **{"crop_to_aspect_ratio": True, "antialias": False, **converter},
    )
    backbone.save_to_preset(str(folder))
    made.save_to_preset(str(folder))
    # Read back by KerasHub: it fits positions to the size then.
    return keras_hub.models.Backbone.from_preset(str(folder)), made


def image_features(backbone, pixels):
    """Compute what KerasHub gives for preprocessed images."""
    if hasattr(backbone, "get_vision_embeddings"):
        return np.asarray(backbone.get_vision_embeddings(pixels))
    given = backbone.input  # a tensor, or one by name
    return np.asarray(backbone(dict.fromkeys(given, pixels) if isinstance(given, dict) else pixels))
