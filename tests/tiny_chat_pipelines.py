"""Stock pipelines whose words go through a chat template, from tiny random parts; and AuraFlow's."""

from __future__ import annotations

import re
from functools import cache

import torch
from diffusers import (
    AuraFlowPipeline,
    AutoencoderKLHunyuanImage,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    HunyuanImagePipeline,
    HunyuanVideo15Pipeline,
    HunyuanVideoPipeline,
    LongCatImagePipeline,
    OvisImagePipeline,
    QwenImageEditInpaintPipeline,
    QwenImagePipeline,
    ZImagePipeline,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.folder_parts import assemble
from tests.small_models import small_transformer
from tests.tiny_parts import tiny_autoencoder, tiny_flux2_autoencoder, tiny_qwen3, tiny_qwen_autoencoder, tiny_qwen_vl
from tests.tiny_text import CHAT, WORDS, chat_tokenizer, tiny_tokenizer


def tiny_qwen_edit_inpaint():
    """Qwen-Image-Edit's inpainting: its text encoder sees the photograph too."""
    base, _, _ = tiny_qwen_image()
    words = base.tokenizer
    marks = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
    words.add_special_tokens({"additional_special_tokens": marks})
    start, image, end, _ = words.convert_tokens_to_ids(marks)
    text = tiny_qwen_vl(words, layers=2, image_token_id=image, vision_start_token_id=start, vision_end_token_id=end)
    pictures = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 56)
    processor = Qwen2VLProcessor(pictures, words, Qwen2VLVideoProcessor())
    return QwenImageEditInpaintPipeline(base.scheduler, base.vae, text, words, processor, base.transformer)


TINY = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def tiny_auraflow(padding_side="right"):
    words = tiny_tokenizer(length=8)
    words.padding_side = padding_side
    torch.manual_seed(0)
    encoder = UMT5EncoderModel(UMT5Config(vocab_size=40, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    vae = tiny_autoencoder(scaling_factor=0.13025, shift_factor=None)
    pipeline = AuraFlowPipeline(
        words,
        encoder.eval(),
        vae,
        small_transformer(find_family("auraflow")),
        FlowMatchEulerDiscreteScheduler(shift=1.73),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "auraflow-v0.3", {"guidance_scale": 4.0}


def tiny_qwen_image():
    template = QwenImagePipeline(None, None, None, None, None).prompt_template_encode
    words = chat_tokenizer(template.split("{}")[0], 34)
    text = tiny_qwen_vl(words, layers=2)
    vae = tiny_qwen_autoencoder()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = QwenImagePipeline(scheduler, vae, text, words, small_transformer(find_family("qwen-image")))
    return pipeline, "qwen-image", {"true_cfg_scale": 4.0, "negative_prompt": "grass"}


def _flux2(kind, family, text):
    words = chat_tokenizer("user system", 0)
    words.chat_template = CHAT
    torch.manual_seed(0)
    encoder = text(len(words)).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return kind(scheduler, tiny_flux2_autoencoder(), encoder, words, small_transformer(find_family(family)))


def tiny_flux2():
    mistral = lambda size: MistralForCausalLM(MistralConfig(vocab_size=size, num_hidden_layers=31, **TINY))  # noqa: E731
    return _flux2(Flux2Pipeline, "flux2", mistral), "flux2-dev", {"guidance_scale": 3.0}


def tiny_flux2_klein():
    qwen = lambda size: Qwen3ForCausalLM(Qwen3Config(vocab_size=size, num_hidden_layers=28, **TINY))  # noqa: E731
    return _flux2(Flux2KleinPipeline, "flux2-klein", qwen), "flux2-klein-4b", {"guidance_scale": 4.0}


@cache
def hunyuan_image_template():
    return HunyuanImagePipeline(*[None] * 7).prompt_template_encode


def tiny_hunyuan_image():
    words = chat_tokenizer(hunyuan_image_template().split("{}")[0], 34)
    qwen = tiny_qwen_vl(words, layers=3)
    letters = T5EncoderModel(T5Config(vocab_size=384, d_model=1472, d_kv=8, d_ff=8, num_layers=1, num_heads=2)).eval()
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32,) * 6,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=384,
        scaling_factor=0.75289,
    ).eval()
    pipeline = HunyuanImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae,
        qwen,
        words,
        letters,
        ByT5Tokenizer(),
        small_transformer(find_family("hunyuan-image")),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "hunyuan-image-2.1", {"distilled_guidance_scale": 3.0}


def llama_tokenizer():
    """Words and marks are tokens; as many start tokens as make the template's head 95 tokens, as Llama's is."""
    head = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0]
    words = re.sub(r"<\|.*?\|>", " ", head).split()
    special = ["<pad>", "<unk>", "<s>", *MARKS]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys([*words, *WORDS])])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in special])
    missing = DEFAULT_PROMPT_TEMPLATE["crop_start"] - len(tokenizer.encode(head).ids)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(["<s>"] * missing + ["$A"]), special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="<|eot_id|>"
    )


def tiny_hunyuan_video():
    words = llama_tokenizer()
    torch.manual_seed(0)
    llama = LlamaModel(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            pad_token_id=words.pad_token_id,
        )
    ).eval()
    clip_words = tiny_tokenizer(length=77, start="<s>", end="</s>")
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=40,
            hidden_size=20,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            eos_token_id=clip_words.eos_token_id,
        )
    ).eval()
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    ).eval()
    pipeline = HunyuanVideoPipeline(
        llama,
        words,
        small_transformer(find_family("hunyuan-video")),
        vae,
        FlowMatchEulerDiscreteScheduler(),
        clip,
        clip_words,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "hunyuan-video", {"guidance_scale": 6.0, "num_frames": 5}


def tiny_hunyuan_video15():
    empty = assemble(find_family("hunyuan-video-1.5"), {})
    words = chat_tokenizer(empty.system_message, 0)
    words.chat_template = CHAT
    letters = T5EncoderModel(T5Config(vocab_size=384, d_model=1472, d_kv=8, d_ff=8, num_layers=1, num_heads=2)).eval()
    vae = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8,) * 5, layers_per_block=1).eval()
    pipeline = HunyuanVideo15Pipeline(
        tiny_qwen_vl(words, layers=3).model.language_model,
        words,
        small_transformer(find_family("hunyuan-video-1.5")),
        vae,
        FlowMatchEulerDiscreteScheduler(shift=5.0),
        letters,
        ByT5Tokenizer(),
        ClassifierFreeGuidance(),
    )
    head = words.apply_chat_template(
        [{"role": "system", "content": empty.system_message}, {"role": "user", "content": ""}], return_dict=True
    )
    pipeline.prompt_template_encode_start_idx = len(head["input_ids"]) - 1  # without the mark after the text
    pipeline.tokenizer_max_length = 12
    return pipeline, "hunyuan-video-1.5", {"guidance_scale": 6.0, "num_frames": 5, "negative_prompt": "grass"}


def tiny_ovis_image():
    system_prompt = OvisImagePipeline(None, None, None, None, None).system_prompt
    head = f"<|im_start|> user {system_prompt}"
    words = chat_tokenizer(head, 40)  # puts start tokens before a text, where it is asked for them
    words.chat_template = CHAT
    torch.manual_seed(0)
    pipeline = OvisImagePipeline(
        FlowMatchEulerDiscreteScheduler(),
        tiny_autoencoder(),
        Qwen3Model(tiny_qwen3(words)).eval(),
        words,
        small_transformer(find_family("ovis-image")),
    )
    # as with the real tokenizer, one token of the template is left before the text
    pipeline.user_prompt_begin_id = len(words(head, add_special_tokens=False)["input_ids"]) - 1
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "ovis-image-7b", {"guidance_scale": 4.0, "negative_prompt": "grass"}


def tiny_longcat_image():
    empty = LongCatImagePipeline(*[None] * 6)
    words = chat_tokenizer(empty.prompt_template_encode_prefix, 0)
    pipeline = LongCatImagePipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        tiny_autoencoder(channels=16),
        tiny_qwen_vl(words, layers=2),
        words,
        None,  # the processor of texts that are rewritten
        small_transformer(find_family("longcat-image")),
    )
    return (
        pipeline,
        "longcat-image",
        {"guidance_scale": 4.0, "negative_prompt": "grass", "enable_prompt_rewrite": False},
    )


def z_image_transformer():
    """Norms near 1, where training starts: with smaller ones all maps would be nearly the same."""
    model = small_transformer(find_family("z-image"))
    for name, parameter in model.named_parameters():
        if "norm" in name or name == "cap_embedder.0.weight":
            torch.nn.init.normal_(parameter, mean=1.0, std=0.1)
    return model


def tiny_z_image():
    words = chat_tokenizer("user", 0)
    words.chat_template = CHAT
    torch.manual_seed(0)
    pipeline = ZImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        tiny_autoencoder(),
        Qwen3ForCausalLM(tiny_qwen3(words)).eval(),
        words,
        z_image_transformer(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "z-image-turbo", {"guidance_scale": 0.0}
