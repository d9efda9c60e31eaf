"""Models of `transformers`, each made tiny from its configuration: random weights, no network, milliseconds to build.

`names()` are the ones that every test may build; `shrunk(name)` works for most of the others, too.
"""

import os
import warnings
from typing import Any, cast

import torch
from torch import nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers
    from transformers.models.auto import configuration_auto, modeling_auto

library = cast("Any", transformers)  # it does not say what it exports


def names() -> list[str]:
    """The architectures that are tiny and build quickly, as `transformers` calls their model types."""
    return [name for name in _NAMES.split() if name in known()]


def known() -> list[str]:
    """Every model type of the installed `transformers`."""
    return list(cast("Any", configuration_auto).CONFIG_MAPPING_NAMES)


def make(name: str) -> nn.Module:
    """The model of that name, always with the same weights: with its language modelling head where it has one.

    Such heads are often tied to the embedding.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = shrunk(name)
        return cast("nn.Module", _auto_class(name).from_config(config)).eval()


def whole(name: str) -> nn.Module:
    """The model of that name in its default size, for the meta device; some need data or more and raise."""
    return cast("nn.Module", _auto_class(name).from_config(library.CONFIG_MAPPING[name]()))


def shrunk(name: str) -> Any:
    """The configuration of that name with every size that we know made small."""
    kind = library.CONFIG_MAPPING[name]
    return kind(**_shrunk(kind().to_dict()))


def _auto_class(name: str) -> Any:
    if name in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return library.AutoModelForCausalLM
    if name in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return library.AutoModelForSeq2SeqLM
    return library.AutoModel


def _shrunk(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that change, with nested configurations in the same way."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and "model_type" in value:
            nested = cast("dict[str, Any]", value)
            made[name] = {**_shrunk(nested), "model_type": nested["model_type"]}
        elif name in _SIZES and type(value) is int:
            made[name] = min(value, _SIZES[name])
        elif name in _SIZES_OF_STAGES and isinstance(value, list):
            made[name] = [_SIZES_OF_STAGES[name]] * len(cast("list[Any]", value))
        elif name in _SIZES and isinstance(value, list):
            made[name] = [_SIZES[name]] * len(cast("list[Any]", value))
    return made


_SIZES_OF_STAGES = {
    **dict.fromkeys(["depths", "num_layers_per_stage", "layers_per_stage"], 1),
    **dict.fromkeys(["hidden_sizes", "encoder_hidden_sizes", "neck_hidden_sizes"], 16),
    **dict.fromkeys(["embed_dims", "conv_dim", "tdnn_dim"], 16),
}
_SIZES: dict[str, int] = {
    name: size
    for size, fields in {
        1: """
            pad_token_id bos_token_id eos_token_id decoder_start_token_id unk_token_id sep_token_id cls_token_id
            mask_token_id image_token_id video_token_id audio_token_id image_token_index video_token_index
            audio_token_index image_start_token_id vision_start_token_id vision_end_token_id boi_token_id eoi_token_id
        """,
        2: """
            num_hidden_layers n_layer num_layers n_layers encoder_layers decoder_layers num_encoder_layers
            num_decoder_layers depth num_block_layers l_layers r_layers x_layers encoder_num_layers decoder_num_layers
            encoder_depth num_attention_heads n_head num_heads n_heads encoder_attention_heads decoder_attention_heads
            num_key_value_heads encoder_num_attention_heads decoder_num_attention_heads nhead num_kv_heads n_kv_heads
            num_experts_per_tok moe_topk moe_k n_group topk_group num_selected_experts
        """,
        4: "num_experts n_routed_experts num_local_experts moe_num_experts",
        8: "patch_size num_queries num_query_tokens qk_rope_head_dim",
        16: """
            head_dim d_kv attention_head_dim qk_nope_head_dim v_head_dim kv_channels d_head attention_head_size
            q_lora_rank kv_lora_rank state_size num_mel_bins num_mel_bands feature_size n_mels
        """,
        32: """
            hidden_size d_model n_embd dim embed_dim embedding_size emb_dim hidden_dim projection_dim d_embed
            encoder_hidden_size decoder_hidden_size cross_attention_hidden_size output_hidden_size text_embed_dim
            decoder_hidden_dim encoder_hidden_dim hidden_channels model_dim lm_hidden_size out_hidden_size
            mm_hidden_size projection_hidden_size entity_emb_size mlp_hidden_dim backbone_out_channels output_dim
            word_embed_proj_dim d_hidden n_hidden width image_size input_size
        """,
        64: """
            intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff dim_feedforward moe_intermediate_size
            shared_expert_intermediate_size n_inner d_inner mlp_dim ffn_hidden_size linear_units
            dense_intermediate_size intermediate_size_mlp shared_intermediate_size filter_size
            moe_shared_expert_intermediate_size max_position_embeddings n_positions max_source_positions
            max_target_positions max_2d_position_embeddings n_ctx max_seq_len seq_length context_length max_len
            max_length_positions
        """,
        99: """
            vocab_size entity_vocab_size text_vocab_size audio_vocab_size codebook_size num_embeddings unit_vocab_size
        """,
    }.items()
    for name in fields.split()
}

_NAMES = """
    gpt-sw3 afmoe aimv2 albert altclip apertus arcee aria audio-spectrogram-transformer audioflamingo3 axk1 axk2
    bailing_hybrid bart beam beit bert bert-generation big_bird bigbird_pegasus biogpt bitnet blenderbot
    blenderbot-small blip blip-2 bloom bros camembert canary chinese_clip clip clipseg clvp codegen cohere cohere2
    cohere2_moe cohere_asr convbert convnext convnextv2 cosmos3_omni cwm data2vec-audio data2vec-text data2vec-vision
    deberta deberta-v2 decision_transformer deepseek_v2 deepseek_v3 deepseek_v32 deepseek_vl deit diffllama dinov2
    dinov2_with_registers dinov3_convnext dinov3_vit distilbert doge dpr dpt electra embedding_gemma2 ernie ernie4_5
    ernie4_5_moe esmc eurobert exaone4 exaone4_5 exaone_moe falcon falcon_h1 falcon_mamba flaubert flava flex_olmo flint
    florence2 fnet fuyu gemma gemma2 gemma3 gemma4_unified git glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe
    glm_image glm_image_vqmodel glm_moe_dsa glm_ocr glmasr glmga glpn gpt2 gpt_bigcode gpt_neox gpt_neox_japanese
    gpt_oss gptj granite granite_docling granite_speech granite_speech_plus granite_swa granitemoe granitemoe_swa
    granitemoeshared gte helium higgs_audio_v2 hubert hy_v3 hy_v4 hyperclovax hyperclovax_vision_v2 ibert idefics
    idefics2 idefics3 ijepa imagegpt instructblip instructblipvideo internlm3 internvl iquestcoder jais2 jamba jetmoe
    jina_embeddings_v3 kimi_k25 kolibri1 kosmos-2 laguna lasr_ctc layoutlm layoutlmv3 levit lfm2 lfm3 lighton_ocr lilt
    llama llava llava_next llava_next_video llava_onevision longformer longt5 luke lxmert m2m_100 mamba marian mbart
    megatron-bert mellum metaclip_2 mimo_v2_flash minicpm3 minimax minimax_m2 ministral3 mistral mistral3 mistral_large4
    mixtral mllama mobilebert mobilevit modernbert modernbert-decoder modernvbert moonshine moss_transcribe_diarize
    mpnet mpt mra mt5 muse_glimmer_assistant musicflamingo mvp nanochat nemotron_asr_streaming neomme nllb-moe
    nomic_bert nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt openai_privacy_filter opt ovis2 owlv2 owlvit
    paddleocr_vl paligemma parakeet_ctc parakeet_rnnt patchtsmixer patchtst pegasus pegasus_x persimmon phi phi3 phimoe
    pi0 pixio pixtral plbart poolformer prophetnet pvt pvt_v2 qianfan_ocr qwen2 qwen2_5_omni_thinker qwen2_5_vl
    qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_vl qwen3_vl_moe recurrent_gemma regnet rembert resnet rf_detr roberta
    roberta-prelayernorm roformer rt_detr rt_detr_v2 rwkv sapiens2 seed_oss segformer seggpt sew sew-d siglip siglip2
    smollm3 smolvlm solar_open speecht5 splinter squeezebert stablelm starcoder2 step3p7 swiftformer swin2sr
    switch_transformers t5 t5gemma t5gemma2 tapas textnet timesfm timesfm2_5 timesformer tipsv2 udop ultrabert
    ultravbert umt5 unispeech unispeech-sat vaultgemma video_llama_3 video_llava videomae videoprism vilt vipllava
    vision-text-dual-encoder visual_bert vit vit_mae vit_msn vitdet vivit voxtral voxtral_realtime wav2vec2
    wav2vec2-bert wav2vec2-conformer wavlm whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod yolos yoso youtu
    zaya mlcd parakeet_tdt
"""
