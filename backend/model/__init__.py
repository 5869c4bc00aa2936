# SPDX-License-Identifier: Apache-2.0
"""PoseLLaVA: its configuration, pose encoder and decoders, the model, and its processor.

Follows the conventions of Hugging Face transformers. May import backend.body, backend.prompt, backend.graph_files,
backend.weight_files and blender_addon.contract. Importing it registers the classes with transformers' Auto classes.
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)

from .configuration import PoseLlavaConfig
from .modeling import AlignmentOutput, PoseLlavaForConditionalGeneration, PoseLlavaOutput
from .processing import PoseLlavaProcessor

AutoConfig.register(PoseLlavaConfig.model_type, PoseLlavaConfig)
AutoModelForImageTextToText.register(PoseLlavaConfig, PoseLlavaForConditionalGeneration)
AutoProcessor.register(PoseLlavaConfig, PoseLlavaProcessor)
# Hub checkpoints of LLaVA-NeXT keep older weight names. Without their renaming the language model's head
# would silently stay random.
# The model's own names are mapped by its type and those of the backbone within it by its class, as in the library.
for _name, _original in (
    (PoseLlavaConfig.model_type, "llava_next"),
    ("PoseLlavaModel", "LlavaNextModel"),
    ("StemmedVisionModel", "CLIPVisionModel"),
):
    register_checkpoint_conversion_mapping(
        _name, get_checkpoint_conversion_mapping(_original), overwrite=True
    )

__all__ = [
    "AlignmentOutput",
    "PoseLlavaConfig",
    "PoseLlavaForConditionalGeneration",
    "PoseLlavaOutput",
    "PoseLlavaProcessor",
]
